"""The views of /v1/responses."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from inference.broker.errors import RequestFailed
from inference.broker.exchange import cancel_elsewhere, first_event
from inference.openai.endpoint import in_database, is_strict, json_body, openai_view
from inference.openai.errors import OpenAIError
from inference.openai.generation import Generation
from inference.openai.server_sent import event_stream
from inference.responses.answer import ResponseAnswer
from inference.responses.conversation import UnknownCall
from inference.responses.ids import new_response_id
from inference.responses.keeping import Keeping
from inference.responses.models import StoredResponse
from inference.responses.paging import ItemsQuery, RetrieveQuery
from inference.responses.request import ResponseRequest
from inference.responses.stream import streamed
from steering.errors import Refused

FIELDS = {"messages": "input", "response_format": "text.format"}
"""{a field of a chat that a worker blames: the field here}"""


@openai_view("POST")
async def responses(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Make a response, as a whole or as a stream."""
    asked = ResponseRequest.parse(json_body(request), strict=is_strict(request))
    row = await in_database(_placed, user, asked)
    with _own_fields():
        generation = await Generation.begin(request, user, asked, row.pk)
        first = await first_event(generation.events, waits=bool(asked.stream))
    answer = ResponseAnswer(asked, generation)
    keeping = Keeping(row, answer, stores=asked.stores)
    headers = generation.selection.headers()
    if asked.stream:
        await keeping.begin()
        return event_stream(streamed(answer, first, generation.events, keeping), headers)
    answer.add(first)
    async for event in generation.events:
        answer.add(event)
    await answer.add_details()
    await keeping.end()
    return JsonResponse(answer.as_json(), headers=headers)


@openai_view("GET", "DELETE")
async def response(request: HttpRequest, user: Any, response_id: str) -> HttpResponseBase:
    """Show a stored response, or delete it."""
    if request.method == "DELETE":
        await in_database(_delete, user, response_id)
        return JsonResponse({"id": response_id, "object": "response", "deleted": True})
    RetrieveQuery.of(request.GET)
    row = await in_database(_stored, user, response_id)
    return JsonResponse(row.as_json())


@openai_view("GET")
async def input_items(request: HttpRequest, user: Any, response_id: str) -> HttpResponseBase:
    """List the items that a response was made of, page by page."""
    query = ItemsQuery.of(request.GET)
    return JsonResponse(query.page(await in_database(_items_before, user, response_id)))


@openai_view("POST")
async def cancel(request: HttpRequest, user: Any, response_id: str) -> HttpResponseBase:
    """Cancel a stored response that is in progress."""
    row = await in_database(_stored, user, response_id)
    with _refusals():
        row.check_cancellable()
    if row.inbox:
        await asyncio.to_thread(cancel_elsewhere, row.inbox, row.pk)
        await in_database(row.cancel)
    return JsonResponse(row.as_json())


# --- in the database ---


def _placed(user: Any, asked: ResponseRequest) -> StoredResponse:
    """The row of a new response with its items, not saved. Raises OpenAIError 400, 404 or 409."""
    previous, history = None, []
    if asked.previous_response_id is not None:
        with _refusals("previous_response_id", not_found="previous_response_not_found"):
            previous = StoredResponse.objects.with_id(user, asked.previous_response_id)
            history = previous.history()
    referenced = StoredResponse.objects.items(user, asked.references) if asked.references else {}
    if missing := [one for one in asked.references if one not in referenced]:
        message = f"input: there is no stored item {missing[0]!r:.100}"
        raise OpenAIError(404, message, param="input", code="item_not_found")
    row = StoredResponse.following(user, new_response_id(), previous)
    try:
        row.input_items = asked.place(row.pk, history, referenced)
    except UnknownCall as error:
        raise OpenAIError(400, f"input: {error}", param="input", code="invalid_request") from error
    return row


def _stored(user: Any, response_id: str) -> StoredResponse:
    with _refusals():
        return StoredResponse.objects.with_id(user, response_id)


def _delete(user: Any, response_id: str) -> None:
    _stored(user, response_id).delete()


def _items_before(user: Any, response_id: str) -> list[dict[str, Any]]:
    """The items of the response's request, after those of the responses before it."""
    *before, row = _stored(user, response_id).path()
    return [item for earlier in before for item in earlier.items] + [*row.input_items]


# --- errors ---


@contextmanager
def _refusals(param: str | None = None, not_found: str | None = None) -> Iterator[None]:
    """Raise refusals of rows as OpenAIError, with the code `not_found` for a 404."""
    try:
        yield
    except Refused as error:
        code = not_found if not_found and error.status == 404 else error.code
        message = f"{param}: {error}" if param else str(error)
        raise OpenAIError(error.status, message, param=param, code=code) from error


@contextmanager
def _own_fields() -> Iterator[None]:
    """Name the fields of this API in the errors of workers."""
    try:
        yield
    except RequestFailed as error:
        if (field := FIELDS.get(error.param or "")) is None:
            raise
        raise RequestFailed(error.code, str(error).replace(str(error.param), field, 1), field) from error

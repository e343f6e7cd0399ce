"""The views of /v1: plain async Django views, since DRF has no async views and a stream must not be collected."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from inference.broker.exchange import first_event, stream_failed
from inference.interface import Event
from inference.openai.answers import Answer, Choice, TextAnswer
from inference.openai.authentication import by_session
from inference.openai.chat_answer import ChatAnswer
from inference.openai.endpoint import as_openai_error, in_database, is_strict, json_body, openai_view
from inference.openai.generation import Generation
from inference.openai.requests import ChatRequest, ChoicesRequest, CompletionRequest
from inference.openai.selection import listed, model_list
from inference.openai.server_sent import WAITING, as_event, event_stream


@openai_view("POST")
async def chat_completions(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Answer a chat, as a whole or as a stream."""
    return await _chat(request, user)


@openai_view("POST", authenticate=by_session)
async def admin_chat_completions(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Answer a chat of the admin's pages, whose users have a session and no key."""
    return await _chat(request, user)


@openai_view("POST")
async def completions(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Continue texts, as a whole or as a stream."""
    asked = CompletionRequest.parse(json_body(request), strict=is_strict(request))
    return await _answer(request, user, asked, TextAnswer, "cmpl")


@openai_view("GET")
async def models(request: HttpRequest, user: Any) -> HttpResponseBase:
    """List the model ids of requests: the current model, then the model with each profile that fits."""
    return JsonResponse(await in_database(model_list))


@openai_view("GET")
async def model(request: HttpRequest, user: Any, name: str) -> HttpResponseBase:
    """Show one model id."""
    return JsonResponse(await in_database(listed, name))


async def _chat(request: HttpRequest, user: Any) -> HttpResponseBase:
    asked = ChatRequest.parse(json_body(request), strict=is_strict(request))
    return await _answer(request, user, asked, ChatAnswer, "chatcmpl")


async def _answer(
    request: HttpRequest, user: Any, asked: ChoicesRequest, kind: type[Answer], prefix: str
) -> HttpResponseBase:
    request_id, streamed = f"{prefix}-{uuid.uuid4().hex}", bool(asked.stream)
    generation = await Generation.begin(request, user, asked, request_id)
    each = [Choice() for _ in range(generation.choices)]
    answer = kind(request_id, generation.selection.model, generation.fingerprint, each, asked.choices, streamed)
    first = await first_event(generation.events, waits=streamed)
    if streamed:
        body = _sse(answer, first, generation.events, partial(generation.details, each), asked.wants_usage_chunk)
        return event_stream(body, generation.selection.headers())
    whole = await _collect(answer, first, generation.events)
    if details := await generation.details(each):
        whole["millm"] = details
    return JsonResponse(whole, headers=generation.selection.headers())


async def _collect(answer: Answer, first: Event, events: AsyncGenerator[Event]) -> dict[str, Any]:
    _count(answer, first)
    async for event in events:
        _count(answer, event)
    return answer.whole()


def _count(answer: Answer, event: Event) -> list[dict[str, Any]]:
    return [] if event.kind == "waiting" else list(answer.take(event.kind, event.data))


async def _sse(
    answer: Answer,
    first: Event,
    events: AsyncGenerator[Event],
    details: Callable[[], Awaitable[dict[str, Any]]],
    with_usage: bool,
) -> AsyncIterator[bytes]:
    """The answer as server-sent events, ended by `[DONE]` or by an error."""
    try:
        yield _event(answer, first)
        async for event in events:
            yield _event(answer, event)
        if found := await details():
            yield as_event(answer.last_chunk(millm=found))
    except Exception as error:  # the status line is sent: a broken connection would not say what went wrong
        failed = as_openai_error(error)
        stream_failed(failed.status)
        yield as_event(failed.body())
        return
    yield (as_event(answer.last_chunk(usage=answer.usage())) if with_usage else b"") + b"data: [DONE]\n\n"


def _event(answer: Answer, event: Event) -> bytes:
    if event.kind == "waiting":
        return WAITING
    return b"".join(map(as_event, _count(answer, event)))

"""The views of /v1: plain async Django views, since DRF has no async views and a stream must not be collected."""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse

from inference.broker.exchange import Exchange, first_event, stream_failed
from inference.broker.messages import GenerateMessage
from inference.interface import Event
from inference.openai.authentication import by_session
from inference.openai.details.activations import ActivationsOfAnswer
from inference.openai.details.conditions import conditions_held
from inference.openai.endpoint import as_openai_error, in_database, is_strict, json_body, openai_view
from inference.openai.requests import AnswerRequest, ChatRequest, CompletionRequest
from inference.openai.responses import Answer, ChatAnswer, Choice, TextAnswer, system_fingerprint
from inference.openai.selection import Selection, activate, entry, model_list, select, served_model


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
    current, profile = await in_database(served_model, name)
    return JsonResponse(entry(name, (profile or current).created_at))


async def _chat(request: HttpRequest, user: Any) -> HttpResponseBase:
    asked = ChatRequest.parse(json_body(request), strict=is_strict(request))
    return await _answer(request, user, asked, ChatAnswer, "chatcmpl")


async def _answer(
    request: HttpRequest, user: Any, asked: AnswerRequest, kind: type[Answer], prefix: str
) -> HttpResponseBase:
    steering = asked.steering.given() if asked.steering else None
    selection = await in_database(select, user, asked.model, asked.profile, steering, asked.intensity)
    activations = None
    if asked.activations:
        activations = await in_database(ActivationsOfAnswer.select, user, asked.activations, selection)
    request_id, choices = f"{prefix}-{uuid.uuid4().hex}", len(asked.prompts) * asked.choices
    exchange = Exchange(request_id, selection, choices)
    await exchange.send(_message(asked, selection, activations))
    events = exchange.events()
    if selection.activates:
        events = _accepted(events, partial(in_database, activate, request, selection))
    fingerprint = system_fingerprint(selection.version, selection.steering)
    each, streamed = [Choice() for _ in range(choices)], bool(asked.stream)
    answer = kind(request_id, selection.model, fingerprint, each, asked.choices, streamed)
    first = await first_event(events, waits=streamed)
    if streamed:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **selection.headers()}
        body = _sse(answer, first, events, partial(_details, selection, activations, answer), asked.wants_usage_chunk)
        return StreamingHttpResponse(body, content_type="text/event-stream", headers=headers)
    whole = await _collect(answer, first, events)
    if details := await _details(selection, activations, answer):
        whole["millm"] = details
    return JsonResponse(whole, headers=selection.headers())


async def _details(selection: Selection, activations: ActivationsOfAnswer | None, answer: Answer) -> dict[str, Any]:
    """`millm` of the response: raw values and conditions of the steering, and the features that fire in the answer."""
    read = await in_database(activations.response, answer.activations) if activations else {}
    return {**selection.details(), **conditions_held(selection.steering, answer.choices), **read}


def _message(
    asked: AnswerRequest, selection: Selection, activations: ActivationsOfAnswer | None
) -> Callable[..., GenerateMessage]:
    """The message to a worker, but for its address."""
    return partial(
        GenerateMessage,
        prompts=[*asked.prompts],
        choices=asked.choices,
        steering=selection.steering,
        sampling=asked.sampling(),
        max_tokens=asked.token_limit,
        stop=asked.stops,
        top_logprobs=asked.alternatives,
        answer_schema=asked.answer_schema,
        echo=bool(getattr(asked, "echo", False)),
        template=asked.template,
        reading=activations.message if activations else None,
    )


async def _accepted(events: AsyncGenerator[Event], accept: Callable[[], Awaitable[None]]) -> AsyncGenerator[Event]:
    """Pass `events` on, and call `accept` before the first one of the answer: a refused request has none."""
    is_accepted = False
    async for event in events:
        if not is_accepted and event.kind != "waiting":
            await accept()
            is_accepted = True
        yield event


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
            yield _data(answer.last_chunk(millm=found))
    except Exception as error:  # the status line is sent: a broken connection would not say what went wrong
        failed = as_openai_error(error)
        stream_failed(failed.status)
        yield _data(failed.body())
        return
    yield (_data(answer.last_chunk(usage=answer.usage())) if with_usage else b"") + b"data: [DONE]\n\n"


def _event(answer: Answer, event: Event) -> bytes:
    if event.kind == "waiting":
        return b": waiting\n\n"  # a comment, so that no proxy takes the silence for the end
    return b"".join(map(_data, _count(answer, event)))


def _data(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"

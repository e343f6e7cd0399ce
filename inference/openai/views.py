"""The views of /v1: plain async Django views, since DRF has no async and a stream must not be collected."""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse

from inference import tasks
from inference.broker.exchange import exchange, first_event, stream_failed
from inference.interface import Event
from inference.openai.authentication import by_session
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
    """The same for the pages of the admin, whose users have a session and no key."""
    return await _chat(request, user)


@openai_view("POST")
async def completions(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Go on texts, as a whole or as a stream."""
    asked = CompletionRequest.parse(json_body(request), strict=is_strict(request))
    return await _answer(request, user, asked, TextAnswer, "cmpl")


@openai_view("GET")
async def models(request: HttpRequest, user: Any) -> HttpResponseBase:
    """The ids that can be asked for: the served model first, then it with profiles that fit."""
    return JsonResponse(await in_database(model_list))


@openai_view("GET")
async def model(request: HttpRequest, user: Any, name: str) -> HttpResponseBase:
    current, profile = await in_database(served_model, name)
    return JsonResponse(entry(name, (profile or current).created_at))


async def _chat(request: HttpRequest, user: Any) -> HttpResponseBase:
    asked = ChatRequest.parse(json_body(request), strict=is_strict(request))
    return await _answer(request, user, asked, ChatAnswer, "chatcmpl")


async def _answer(
    request: HttpRequest, user: Any, asked: AnswerRequest, kind: type[Answer], prefix: str
) -> HttpResponseBase:
    steering = asked.steering.model_dump() if asked.steering else None
    selection = await in_database(select, user, asked.model, asked.profile, steering)
    request_id, choices = f"{prefix}-{uuid.uuid4().hex}", len(asked.prompts) * asked.choices
    events = await exchange(tasks.generate, request_id, selection, _message(asked, selection), choices)
    if selection.activates:
        events = _accepted(events, partial(in_database, activate, request, selection))
    fingerprint = system_fingerprint(selection.version, selection.steering)
    each, streamed = [Choice() for _ in range(choices)], bool(asked.stream)
    answer = kind(request_id, selection.model, fingerprint, each, asked.choices, streamed)
    first = await first_event(events, waits=streamed)
    if streamed:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **selection.headers()}
        body = _sse(answer, first, events, asked.wants_usage_chunk)
        return StreamingHttpResponse(body, content_type="text/event-stream", headers=headers)
    return JsonResponse(await _collect(answer, first, events), headers=selection.headers())


def _message(asked: AnswerRequest, selection: Selection) -> dict[str, Any]:
    """The task message: see `inference.worker.model_server.Serving.answer`."""
    return {
        "prompts": asked.prompts,
        "echo": bool(getattr(asked, "echo", False)),
        "max_tokens": asked.token_limit,
        "sampling": asdict(asked.sampling()),
        "stop": asked.stops,
        "top_logprobs": asked.alternatives,
        "schema": asked.answer_schema,
        "template": asked.template,
        "choices": asked.choices,
        "steering": selection.steering.to_message() if selection.steering else None,
    }


async def _accepted(events: AsyncGenerator[Event], accept: Callable[[], Awaitable[None]]) -> AsyncGenerator[Event]:
    """`events`, before the first of which that is of the answer `accept` is done: a refused request has none."""
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


async def _sse(answer: Answer, first: Event, events: AsyncGenerator[Event], with_usage: bool) -> AsyncIterator[bytes]:
    """The answer as server-sent events, ended by `[DONE]` or by an error."""
    try:
        yield _event(answer, first)
        async for event in events:
            yield _event(answer, event)
    except Exception as error:  # the status line is sent: a broken connection would not say what went wrong
        told = as_openai_error(error)
        stream_failed(told)
        yield _data(told.body())
        return
    yield (_data(answer.usage_chunk()) if with_usage else b"") + b"data: [DONE]\n\n"


def _event(answer: Answer, event: Event) -> bytes:
    if event.kind == "waiting":
        return b": waiting\n\n"  # a comment, so that nothing between us and the client takes the silence for the end
    return b"".join(map(_data, _count(answer, event)))


def _data(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"

"""The views of /v1: plain async Django views, since DRF has no async and a stream must not be collected."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse

from inference import stream
from inference.generation import Event
from inference.inbox import inbox
from inference.openai.endpoint import json_body, openai_view
from inference.openai.errors import OpenAIError
from inference.openai.requests import AnswerRequest, ChatRequest, CompletionRequest
from inference.openai.responses import Answer, ChatAnswer, Choice, TextAnswer, system_fingerprint
from inference.openai.selection import Selection, entry, model_entries, select, served_model
from inference.queueing import enqueue, is_served


@openai_view("POST")
async def chat_completions(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Answer a chat, as a whole or as a stream."""
    return await _answer(user, ChatRequest.parse(json_body(request), strict=_strict(request)), ChatAnswer, "chatcmpl")


@openai_view("POST")
async def completions(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Go on texts, as a whole or as a stream."""
    return await _answer(user, CompletionRequest.parse(json_body(request), strict=_strict(request)), TextAnswer, "cmpl")


def _strict(request: HttpRequest) -> bool:
    return request.headers.get("X-miLLM-Strict", "").lower() == "true"


async def _answer(user: Any, asked: AnswerRequest, kind: type[Answer], prefix: str) -> HttpResponseBase:
    steering = asked.steering.model_dump() if asked.steering else None
    selection = await sync_to_async(select)(user, asked.model, asked.profile, steering)
    request_id, choices = f"{prefix}-{uuid.uuid4().hex}", len(asked.prompts) * asked.choices
    await _send(request_id, asked, selection)
    fingerprint = system_fingerprint(selection.served, selection.steering)
    answer = kind(request_id, selection.model, fingerprint, [Choice() for _ in range(choices)], asked.choices)
    events = _events(request_id, selection, choices)
    first = await _first(events)
    if asked.stream:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **selection.headers()}
        body = _sse(answer, first, events, asked.wants_usage_chunk)
        return StreamingHttpResponse(body, content_type="text/event-stream", headers=headers)
    return JsonResponse(await _collect(answer, first, events), headers=selection.headers())


@openai_view("GET")
async def models(request: HttpRequest, user: Any) -> HttpResponseBase:
    """The ids that can be asked for: the served model first, then it with each profile that fits."""
    data = await sync_to_async(lambda: list(model_entries()))()
    return JsonResponse({"object": "list", "data": data})


@openai_view("GET")
async def model(request: HttpRequest, user: Any, name: str) -> HttpResponseBase:
    current, profile = await sync_to_async(served_model)(name)
    return JsonResponse(entry(name, profile or current))


async def _send(request_id: str, asked: AnswerRequest, selection: Selection) -> None:
    """To a worker; the events come to this process's inbox."""
    inbox().expect(request_id)
    try:
        message = {**_message(request_id, asked, selection), "inbox": inbox().key}
        await sync_to_async(enqueue)(selection.queue, message)
    except BaseException:
        inbox().forget(request_id)
        # A client that went away just now does not stop the thread that hands the request over.
        await asyncio.shield(asyncio.to_thread(stream.cancel, request_id))
        raise


def _message(request_id: str, asked: AnswerRequest, selection: Selection) -> dict[str, Any]:
    """The task message: see `inference.worker.Serving.answer`."""
    return {
        "request_id": request_id,
        "prompts": asked.prompts,
        "echo": bool(getattr(asked, "echo", False)),
        "max_tokens": asked.token_limit,
        "sampling": asdict(asked.sampling()),
        "stop": asked.stops,
        "top_logprobs": asked.alternatives,
        "choices": asked.choices,
        "steering": selection.steering.to_message() if selection.steering else None,
        "deadline": time.time() + settings.INFERENCE_REQUEST_TIMEOUT_S,
    }


async def _events(request_id: str, selection: Selection, choices: int) -> AsyncGenerator[Event]:
    """The request's events; whoever stops reading before the last one cancels the request."""
    left, timeout_s = choices, settings.INFERENCE_REQUEST_TIMEOUT_S
    try:
        async with aclosing(
            inbox().events(request_id, choices, lambda: is_served(selection.served), timeout_s)
        ) as events:
            async for event in events:
                left = 0 if event.kind == "failed" else left - event.is_last
                yield event
    finally:
        inbox().forget(request_id)
        if left:
            # The client is gone and this task is being cancelled: the cancellation must go out all the same.
            await asyncio.shield(asyncio.to_thread(stream.cancel, request_id))


async def _first(events: AsyncGenerator[Event]) -> Event:
    """The first event: read before the status line is sent, so that an early error is an HTTP error."""
    first = await anext(events)
    if first.kind == "failed":
        await events.aclose()
        raise OpenAIError.from_failure(first.data)
    return first


async def _collect(answer: Answer, first: Event, events: AsyncGenerator[Event]) -> dict[str, Any]:
    _count(answer, first)
    async with aclosing(events):
        async for event in events:
            if event.kind == "failed":
                raise OpenAIError.from_failure(event.data)
            _count(answer, event)
    return answer.whole()


def _count(answer: Answer, event: Event) -> list[dict[str, Any]]:
    return list(answer.take(event.kind, event.data))


async def _sse(answer: Answer, first: Event, events: AsyncGenerator[Event], with_usage: bool) -> AsyncIterator[bytes]:
    """The answer as server-sent events, ended by `[DONE]` or by an error."""
    for chunk in _count(answer, first):
        yield _data(chunk)
    async with aclosing(events):
        async for event in events:
            if event.kind == "failed":
                yield _data(OpenAIError.from_failure(event.data).body())
                return
            for chunk in _count(answer, event):
                yield _data(chunk)
    if with_usage:
        yield _data(answer.usage_chunk())
    yield b"data: [DONE]\n\n"


def _data(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"

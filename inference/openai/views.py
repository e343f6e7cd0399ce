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
from inference.openai.requests import ChatRequest
from inference.openai.responses import ChatAnswer, Choice, system_fingerprint
from inference.openai.selection import Selection, entry, model_entries, select, served_model
from inference.queueing import enqueue, is_served


@openai_view("POST")
async def chat_completions(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Answer a chat, as a whole or as a stream."""
    strict = request.headers.get("X-miLLM-Strict", "").lower() == "true"
    chat = ChatRequest.parse(json_body(request), strict=strict)
    steering = chat.steering.model_dump() if chat.steering else None
    selection = await sync_to_async(select)(user, chat.model, chat.profile, steering)
    request_id = f"chatcmpl-{uuid.uuid4().hex}"
    await _send(request_id, chat, selection)
    fingerprint = system_fingerprint(selection.served, selection.steering)
    answer = ChatAnswer(request_id, selection.model, fingerprint, [Choice() for _ in range(chat.choices)])
    events = _events(request_id, selection, chat.choices)
    first = await _first(events)
    if chat.stream:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **selection.headers()}
        body = _sse(answer, first, events, chat.wants_usage_chunk)
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


async def _send(request_id: str, chat: ChatRequest, selection: Selection) -> None:
    """To a worker; the events come to this process's inbox."""
    inbox().expect(request_id)
    try:
        message = {**_message(request_id, chat, selection), "inbox": inbox().key}
        await sync_to_async(enqueue)(selection.queue, message)
    except BaseException:
        inbox().forget(request_id)
        # A client that went away just now does not stop the thread that hands the request over.
        await asyncio.shield(asyncio.to_thread(stream.cancel, request_id))
        raise


def _message(request_id: str, chat: ChatRequest, selection: Selection) -> dict[str, Any]:
    """The task message: see `inference.worker.Serving.answer`."""
    return {
        "request_id": request_id,
        "messages": [message.as_text() for message in chat.messages],
        "max_tokens": chat.token_limit,
        "sampling": asdict(chat.sampling()),
        "stop": chat.stops,
        "top_logprobs": chat.alternatives,
        "choices": chat.choices,
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


async def _collect(answer: ChatAnswer, first: Event, events: AsyncGenerator[Event]) -> dict[str, Any]:
    answer.take(first.kind, first.data)
    async with aclosing(events):
        async for event in events:
            if event.kind == "failed":
                raise OpenAIError.from_failure(event.data)
            answer.take(event.kind, event.data)
    return answer.whole()


async def _sse(
    answer: ChatAnswer, first: Event, events: AsyncGenerator[Event], with_usage: bool
) -> AsyncIterator[bytes]:
    """The answer as server-sent events, ended by `[DONE]` or by an error."""
    answer.take(first.kind, first.data)
    for index in range(len(answer.choices)):
        yield _data(answer.chunk(index, {"role": "assistant", "content": ""}))
    async with aclosing(events):
        async for event in events:
            if event.kind == "failed":
                yield _data(OpenAIError.from_failure(event.data).body())
                return
            answer.take(event.kind, event.data)
            index = event.data["index"]
            if event.kind == "delta" and (event.data["text"] or event.data.get("logprobs")):
                yield _data(answer.chunk(index, {"content": event.data["text"]}, event.data.get("logprobs")))
            elif event.kind == "finished":
                yield _data(answer.chunk(index, {}, finish_reason=event.data["reason"]))
    if with_usage:
        yield _data(answer.usage_chunk())
    yield b"data: [DONE]\n\n"


def _data(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"

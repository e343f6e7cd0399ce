"""The way of a request to a worker, and of its events back."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from asgiref.sync import sync_to_async
from celery import Task
from django.conf import settings

from inference import stream
from inference.generation import Event
from inference.inbox import inbox
from inference.openai.errors import OpenAIError
from inference.openai.selection import Selection
from inference.queueing import enqueue, is_served


async def exchange(
    task: "Task[Any, Any]", request_id: str, selection: Selection, message: dict[str, Any], choices: int = 1
) -> AsyncGenerator[Event]:
    """Send `message`, completed by what every task needs, and return the events that answer it, not yet read."""
    inbox().expect(request_id)
    deadline = time.time() + settings.INFERENCE_REQUEST_TIMEOUT_S
    message = {**message, "request_id": request_id, "inbox": inbox().key, "deadline": deadline}
    try:
        await sync_to_async(enqueue)(selection.queue, message, task)
    except BaseException:
        inbox().forget(request_id)
        # A client that went away just now does not stop the thread that hands the request over.
        await asyncio.shield(asyncio.to_thread(stream.cancel, request_id))
        raise
    return _events(request_id, selection, choices)


async def first_event(events: AsyncGenerator[Event], *, waits: bool) -> Event:
    """The first event: read before the status line is sent, so that an early error is an HTTP error.

    With `waits` that it is still waited for counts as one, after a while.
    """
    async for event in events:
        if event.kind == "failed":
            await events.aclose()
            raise OpenAIError.from_failure(event.data)
        if waits or event.kind != "waiting":
            return event
    raise AssertionError("events end with a last one")


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

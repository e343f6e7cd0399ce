"""The way of a request to a worker, and of its events back."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from celery import Task
from django.conf import settings

from inference import metrics, stream, traffic
from inference.generation import Event
from inference.inbox import inbox
from inference.openai.errors import OpenAIError
from inference.openai.selection import Selection
from inference.queueing import enqueue

ASGI = Callable[[Any, Any, Any], Awaitable[None]]

_open: ContextVar[list["Exchange"]] = ContextVar("open_exchanges")
_arrived: ContextVar[float] = ContextVar("arrived")


def closes_exchanges(application: ASGI) -> ASGI:
    """`application`, after each of whose requests the exchanges that it opened are closed.

    A client can vanish at any await, in Django's middleware too, where a response is dropped and nobody is told.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        opened: list[Exchange] = []
        _open.set(opened)
        _arrived.set(time.perf_counter())
        try:
            await application(scope, receive, send)
        finally:
            for one in opened:
                # This task may be cancelled itself, and the workers must hear of it all the same.
                await asyncio.shield(one.close())

    return wrapped


@dataclass
class Exchange:
    """One request with a worker, until its last event is read or it is closed; `left` of its choices have not ended."""

    request_id: str
    served: str
    version: str
    left: int
    profile: str | None
    pace: metrics.Pace = field(default_factory=lambda: metrics.Pace(_arrived.get()))
    outcome: traffic.Outcome = field(default="failed", init=False)
    """What has become of it, if it is closed now."""

    async def send(self, task: "Task[Any, Any]", queue: str, message: dict[str, Any]) -> None:
        """Hand `message`, completed by what every task needs, to the workers of `queue`."""
        inbox().expect(self.request_id)
        deadline = time.time() + settings.INFERENCE_REQUEST_TIMEOUT_S
        sent = {"request_id": self.request_id, "version": self.version, "inbox": inbox().key, "deadline": deadline}
        try:
            await sync_to_async(enqueue)(queue, {**message, **sent}, task)
        except OpenAIError:
            self.left = 0  # it is in no queue: there is nothing to cancel
            raise
        self.outcome = "cancelled"

    async def events(self) -> AsyncGenerator[Event]:
        """What comes back, to the last event."""
        timeout_s = settings.INFERENCE_REQUEST_TIMEOUT_S
        async for event in inbox().events(self.request_id, self.left, self.served, timeout_s):
            self.left = 0 if event.kind == "failed" else self.left - event.is_last
            self._measure(event)
            yield event

    def _measure(self, event: Event) -> None:
        self.pace.observe(event)
        if not self.left:
            self.outcome = "failed" if event.kind == "failed" else "answered"

    async def close(self) -> None:
        """Nobody reads on: what is not finished is cancelled, and the request is counted."""
        inbox().forget(self.request_id)
        try:
            if self.left:
                self.left = 0
                await asyncio.to_thread(stream.cancel, self.request_id)
        finally:
            metrics.request_ended(self.outcome, self.profile)
            await traffic.request_ended(self.outcome, self.pace.first_token_s)


async def exchange(
    task: "Task[Any, Any]", request_id: str, selection: Selection, message: dict[str, Any], choices: int = 1
) -> AsyncGenerator[Event]:
    """Send `message` and return the events that answer it, not yet read. Closed with the request that opened it."""
    opened = Exchange(request_id, selection.served, selection.version, choices, selection.profile)
    _open.get().append(opened)
    await opened.send(task, selection.queue, message)
    return opened.events()


async def first_event(events: AsyncGenerator[Event], *, waits: bool) -> Event:
    """The first event: read before the status line is sent, so that an early error is an HTTP error.

    With `waits` that it is still waited for counts as one, after a while.
    """
    async for event in events:
        if event.kind == "failed":
            raise OpenAIError.from_failure(event.data)
        if waits or event.kind != "waiting":
            return event
    raise AssertionError("events end with a last one")

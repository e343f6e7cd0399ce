"""The way of a request to a worker, and of its events back."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from celery import Task
from django.conf import settings

from inference import metrics
from inference.broker import counters as traffic
from inference.broker.counters import Outcome
from inference.broker.inbox import inbox
from inference.broker.queues import enqueue
from inference.interface import Event
from inference.openai.errors import OpenAIError
from inference.openai.selection import Selection

ASGI = Callable[[Any, Any, Any], Awaitable[None]]
logger = logging.getLogger(__name__)

ASKING = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/admin/chat/completions"}
SEND_S = 60.0
"""A client that takes nothing for so long is gone."""


@dataclass
class Call:
    """One HTTP request: the status it was answered with, and its exchange with a worker if it has one."""

    arrived: float = field(default_factory=time.perf_counter)
    status: int | None = None
    exchange: "Exchange | None" = None
    is_told: bool = False
    """All of the answer was sent."""
    is_left: bool = False
    """The client went before that."""

    def leave(self) -> None:
        """The client is gone: nobody reads the answer.

        Django cancels the view then, but libraries lose a cancellation now and then: redis-py, by `asyncio.wait_for`
        of Python 3.11, where it comes just when a command was sent. The view would read on to the end.
        """
        if not self.is_told:
            self.is_left = True
            if self.exchange:
                inbox().abandon(self.exchange.request_id)

    async def end(self, *, asks: bool) -> None:
        """Close its exchange, and count it if it `asks` for what a worker makes, wherever it failed."""
        if self.exchange:
            await self.exchange.close()
        outcome = self._outcome()
        if asks and outcome:
            metrics.REQUESTS.labels(outcome).inc()
            await traffic.request_ended(outcome, self.exchange.pace.first_token_s if self.exchange else None)

    def _outcome(self) -> Outcome | None:
        if self.status is None or self.is_left:
            return "cancelled"
        if self.status >= 400:
            return _outcome_of(self.status)
        if self.exchange is None:
            return None
        return "cancelled" if self.exchange.left else "answered"


_call: ContextVar[Call] = ContextVar("call")


def stream_failed(error: OpenAIError) -> None:
    """Count this request as one that was answered with `error`: its status line had been sent before."""
    _call.get().status = error.status


def closes_exchanges(application: ASGI) -> ASGI:
    """`application`, after each of whose requests the exchange that it opened is closed.

    A client can vanish at any await, in Django's middleware too, where a response is dropped and nobody is told.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        call = Call()
        _call.set(call)

        async def received() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect":
                call.leave()
            return message

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            try:
                async with asyncio.timeout(SEND_S):
                    await send(message)
                call.is_told = message["type"] == "http.response.body" and not message.get("more_body")
            except TimeoutError:  # as Django knows it of clients that vanish
                raise asyncio.CancelledError from None

        try:
            await application(scope, received, sent)
        finally:
            asks = scope.get("method") == "POST" and scope["path"].rstrip("/") in ASKING
            # This task may be cancelled itself, and the workers must hear of it all the same.
            await asyncio.shield(call.end(asks=asks))

    return wrapped


@dataclass
class Exchange:
    """One request with a worker, until its last event is read or it is closed; `left` of its choices have not ended."""

    request_id: str
    served: str
    version: str
    left: int
    profile: str | None
    pace: metrics.Pace = field(default_factory=lambda: metrics.Pace(_call.get().arrived))
    _is_out: bool = field(default=False, init=False)
    """Whether a worker has it, or may get it."""

    async def send(self, task: "Task[Any, Any]", queue: str, message: dict[str, Any]) -> None:
        """Hand `message`, completed by what every task needs, to the workers of `queue`. Raises OpenAIError."""
        inbox().expect(self.request_id, self.pace.observe)
        if _call.get().is_left:
            inbox().abandon(self.request_id)
        workers = await inbox().serving(self.served)
        await inbox().shares.take(self.request_id, self.left, workers)
        sent = {"request_id": self.request_id, "version": self.version, "inbox": inbox().key}
        self._is_out = True
        try:
            await sync_to_async(enqueue)(queue, {**message, **sent}, task)
        except OpenAIError:
            self._is_out = False
            raise
        metrics.PROFILE_REQUESTS.labels(metrics.profile_label(self.profile)).inc()

    async def events(self) -> AsyncGenerator[Event]:
        """What comes back, to the last event. Raises OpenAIError where it fails, by a worker's word or without one."""
        timeout_s = settings.INFERENCE_REQUEST_TIMEOUT_S
        try:
            async for event in inbox().events(self.request_id, self.left, self.served, timeout_s):
                if event.kind == "failed":
                    self._is_out = False
                    raise OpenAIError.from_failure(event.data)
                self.left -= event.is_last
                if not self.left:
                    self._is_out = False
                yield event
        except OpenAIError as error:
            logger.warning("%s: %s", self.request_id, error.code)  # of a stream no status tells it
            raise

    async def close(self) -> None:
        """Nobody reads on: what a worker has not ended is cancelled."""
        inbox().forget(self.request_id)
        await inbox().shares.release(self.request_id)
        if self._is_out:
            await inbox().cancel(self.request_id)


async def exchange(
    task: "Task[Any, Any]", request_id: str, selection: Selection, message: dict[str, Any], choices: int = 1
) -> AsyncGenerator[Event]:
    """Send `message` and return the events that answer it, not yet read. Closed with the request that opened it."""
    opened = Exchange(request_id, selection.served, selection.version, choices, selection.profile)
    _call.get().exchange = opened
    try:
        await opened.send(task, selection.queue, message)
    except OpenAIError as error:
        if error.code == "no_worker" and selection.why_unserved:
            raise OpenAIError(error.status, selection.why_unserved, code=error.code) from error
        raise
    return opened.events()


async def first_event(events: AsyncGenerator[Event], *, waits: bool) -> Event:
    """The first event: read before the status line is sent, so that an early error is an HTTP error.

    With `waits` that it is still waited for counts as one, after a while. Raises OpenAIError.
    """
    async for event in events:
        if waits or event.kind != "waiting":
            return event
    raise AssertionError("events end with a last one")


def _outcome_of(status: int) -> Outcome:
    """Of an error."""
    return "refused" if status < 500 else "failed"

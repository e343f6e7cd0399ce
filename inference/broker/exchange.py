"""One request with a worker: the message there, the events back, and its end with the HTTP request that opened it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.conf import settings

from inference import metrics
from inference.broker import claims, counters
from inference.broker.counters import Outcome
from inference.broker.errors import CANCELLED, RequestFailed
from inference.broker.events import write_events
from inference.broker.inbox import inbox
from inference.broker.messages import Message
from inference.broker.queues import enqueue
from inference.interface import Event

ASGI = Callable[[Any, Any, Any], Awaitable[None]]
logger = logging.getLogger(__name__)

ASKING = {
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"),
    "/admin/chat/completions",
}
"""The paths whose requests a worker answers."""
SEND_S = 60.0
"""A client that takes nothing for this long is gone."""


# --- the HTTP request ---


@dataclass
class Call:
    """One HTTP request: the status of its response, and its exchange with a worker if it has one."""

    arrived: float = field(default_factory=time.perf_counter)
    status: int | None = None
    exchange: "Exchange | None" = None
    is_answered: bool = False
    """True where all of the response was sent."""
    is_left: bool = False
    """True where the client closed the connection before that."""
    at_end: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Called when the request has ended, however it ended."""

    def leave(self) -> None:
        """End the reading of events: the client is gone.

        Django cancels the view then, but libraries lose a cancellation now and then: redis-py, by `asyncio.wait_for`
        of Python 3.11, loses one that comes just when a command was sent. The view would read to the last event.
        """
        if not self.is_answered:
            self.is_left = True
            if self.exchange:
                inbox().abandon(self.exchange.request_id)

    async def end(self, *, asks: bool) -> None:
        """Close its exchange; count it if it `asks` for an answer of a worker, wherever it failed."""
        if self.exchange:
            await self.exchange.close()
        outcome = self._outcome()
        if asks and outcome:
            metrics.REQUESTS.labels(outcome).inc()
            await counters.request_ended(outcome, self.exchange.first_token_s if self.exchange else None)
        for ended in self.at_end:
            await ended()

    def _outcome(self) -> Outcome | None:
        if self.status is None or self.is_left:
            return "cancelled"
        if self.status >= 400:
            return "refused" if self.status < 500 else "failed"
        if self.exchange is None:
            return None
        return "cancelled" if self.exchange.left else "answered"


current_call: ContextVar[Call] = ContextVar("call")
"""The HTTP request that this context belongs to."""


def stream_failed(status: int) -> None:
    """Count this request as one that was answered with `status`: its status line was sent before it failed."""
    current_call.get().status = status


def closes_exchanges(application: ASGI) -> ASGI:
    """Wrap `application` so that each request's exchange is closed with the request.

    A client can vanish at any await, also in Django's middleware, which drops the response and calls nobody.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        call = Call()
        current_call.set(call)

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
                call.is_answered = message["type"] == "http.response.body" and not message.get("more_body")
            except TimeoutError:  # Django knows vanished clients by this error
                raise asyncio.CancelledError from None

        try:
            await application(scope, received, sent)
        finally:
            asks = scope.get("method") == "POST" and scope["path"].rstrip("/") in ASKING
            # This task may be cancelled itself, and the workers must hear of it all the same.
            await asyncio.shield(call.end(asks=asks))

    return wrapped


# --- its exchange with a worker ---


def cancel_elsewhere(inbox_key: str, request_id: str) -> None:
    """Cancel a request of any web process, which reads the error `cancelled` in its inbox. Raises RedisError."""
    error = {"code": CANCELLED, "message": "The request was cancelled."}
    write_events([(inbox_key, Event(request_id, "failed", error))])
    claims.cancel(request_id)


class Destination(Protocol):
    """The model that a request selected: its name, version and queue, the profile that steers the request, if one does,
    and a function that asks for the reason why no worker serves the model, which is empty where it is not known."""

    @property
    def served(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def profile(self) -> str | None: ...
    @property
    def why_unserved(self) -> Callable[[], str]: ...


@dataclass
class Exchange:
    """One request with a worker: `send` it once, read its `events`; `left` of its choices have not ended."""

    request_id: str
    destination: Destination
    left: int = 1
    timeout_s: float = field(default_factory=lambda: settings.INFERENCE_REQUEST_TIMEOUT_S)
    _pace: metrics.Pace | None = field(default=None, init=False)
    _is_out: bool = field(default=False, init=False)
    """True where a worker has the request, or may get it."""

    @property
    def first_token_s(self) -> float | None:
        """Seconds from the arrival of the HTTP request to its first token."""
        return self._pace.first_token_s if self._pace else None

    async def send(self, make: Callable[..., Message]) -> None:
        """Send a worker of the model what `make` makes of the address: request_id, inbox, version and deadline.

        From now on the exchange is closed with the HTTP request. Raises RequestFailed where the request is refused,
        RedisError or OperationalError of Celery where Redis does not answer.
        """
        call = current_call.get()
        call.exchange, self._pace = self, metrics.Pace(call.arrived)
        inbox().expect(self.request_id, self._pace.observe)
        if call.is_left:
            inbox().abandon(self.request_id)
        workers = await inbox().serving(self.destination.served, self.destination.why_unserved)
        await inbox().shares.take(self.request_id, self.left, workers)
        address = {"request_id": self.request_id, "version": self.destination.version, "inbox": inbox().key}
        self._is_out = True
        try:
            await sync_to_async(enqueue)(self.destination.queue, lambda deadline: make(deadline=deadline, **address))
        except RequestFailed:
            self._is_out = False
            raise
        metrics.PROFILE_REQUESTS.labels(metrics.profile_label(self.destination.profile)).inc()

    async def events(self) -> AsyncGenerator[Event]:
        """The events of the request, until the last of its choices has finished.

        "waiting" comes when INFERENCE_KEEPALIVE_S have passed without an event. Raises RequestFailed when a worker
        reports a failure, and when no worker can: `worker_lost` when the heartbeat of the worker that claimed the
        request stops, `no_worker` when no worker is there to claim it, `broker_unavailable` when Redis stays silent,
        `timeout` after `timeout_s`, `cancelled` after `Inbox.abandon`, `client_too_slow` when too many events wait to
        be read. Except after a worker's report a worker may go on with the request: `close` cancels it.
        """
        reply, worker = inbox().reply(self.request_id), ""
        # Consecutive timeouts with Redis silent. Counted, not timed: a suspended process sees one timeout.
        silences = 0
        last = since = time.monotonic()
        deadline = since + self.timeout_s
        try:
            while self.left:
                event, now = await reply.next(), time.monotonic()
                silences = silences + 1 if event is None and inbox().is_silent else 0
                if event is None:
                    inbox().raise_if_lost(worker, self.destination.served, since, silences)
                    if now > deadline:
                        why = f"The answer was not finished within {self.timeout_s:g} seconds."
                        raise RequestFailed("timeout", why)
                    if now - last < settings.INFERENCE_KEEPALIVE_S:
                        continue
                    event = Event(self.request_id, "waiting")
                if event.kind == "claimed":
                    worker, since = event.data["worker"], now
                    continue
                last = now
                yield self._count(event)
        except RequestFailed as error:
            logger.warning("%s: %s", self.request_id, error.code)  # the status of a stream does not show it
            raise

    def _count(self, event: Event) -> Event:
        """The event, with `left` brought up to it. Raises RequestFailed where it reports a failure."""
        if event.kind == "failed":
            self._is_out = False
            raise RequestFailed.from_event(event.data)
        self.left -= event.is_last
        self._is_out = self._is_out and self.left > 0
        return event

    async def close(self) -> None:
        """End it: no more events are read, and the workers cancel what they have not finished."""
        inbox().forget(self.request_id)
        await inbox().shares.release(self.request_id)
        if self._is_out:
            await inbox().cancel(self.request_id)


async def first_event(events: AsyncGenerator[Event], *, waits: bool) -> Event:
    """The first event, which is read before the status line is sent, so that an early error is an HTTP error.

    With `waits` a "waiting" event counts as the first one. Raises RequestFailed.
    """
    async for event in events:
        if waits or event.kind != "waiting":
            return event
    raise AssertionError("events end with a last one")

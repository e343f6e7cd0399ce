"""Where a web process reads the events of all its requests: one reader, and a bounded queue for each request."""

import asyncio
import json
import logging
import math
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings

from inference.broker import claims, connections, heartbeats
from inference.broker.events import INBOX_KEPT_S, after, inbox_alive_key
from inference.broker.shares import Shares
from inference.interface import Event, EventsLost, WorkerLost
from inference.openai.errors import OpenAIError

logger = logging.getLogger(__name__)

BLOCK_MS = 500
TRIM_EVERY, TRIM_BYTES = 64, 2**20
"""Entries and their characters, after which Redis drops what was read; in a silence it drops all of it."""
SILENCE_S = 0.5
LOOK_EVERY_S = 0.5
ALIVE_TTL_S = 4.0
BROKER_AWAY_S = 5.0
DEAF_S = 2.0  # without a word: longer than a wait for events, and than the time between looks
BACKLOG = 16_384
"""Tokens, and alternatives to them, that wait for a client which does not read: some 10 MB."""
UNREADABLE = "The server could not read its workers' events; its log says why."
LOST = str(EventsLost())


@dataclass(frozen=True)
class Look:
    """The workers that were there at a moment."""

    began: float
    workers: list[heartbeats.Heartbeat]

    def serves(self, model: str) -> bool:
        return any(worker.serves(model) for worker in self.workers)

    def sees(self, worker: str) -> bool:
        return any(one.worker == worker for one in self.workers)


@dataclass
class Reply:
    """What came for one request and was not read yet; `heard` is told of each event as it comes."""

    heard: Callable[[Event], None]
    has_failed: bool = False
    _weight: int = 0
    _unread: "asyncio.Queue[Event | OpenAIError]" = field(default_factory=asyncio.Queue)

    def put(self, event: Event) -> None:
        """One more, which is heard now; where too many are not read already, all are dropped and it fails."""
        self.heard(event)
        if self._weight > BACKLOG:  # before this one is counted: an echo may be larger, and nobody could have read it
            while not self._unread.empty():
                self._unread.get_nowait()
            self.fail("client_too_slow", "The answer was not read while it was written: it was given up.")
            return
        self._weight += _weight(event)
        self._unread.put_nowait(event)

    def fail(self, code: str, message: str) -> None:
        """Nothing comes any more; what came is still read."""
        if not self.has_failed:
            self.has_failed = True
            self._unread.put_nowait(_failure(code, message))

    async def next(self) -> Event | None:
        """The next event, None after some silence. Raises OpenAIError where there will be none."""
        try:
            async with asyncio.timeout(SILENCE_S if self._unread.empty() else None):
                event = await self._unread.get()
        except TimeoutError:
            return None
        if isinstance(event, OpenAIError):
            raise event
        self._weight -= _weight(event)
        return event


class Inbox:
    """The inbox of one event loop; `inbox()` gives the running one's."""

    def __init__(self) -> None:
        self.key = f"millm:inbox:{uuid.uuid4().hex}"
        self._replies: dict[str, Reply] = {}
        self._unwanted: set[str] = set()  # requests that are still to be cancelled
        self.shares = Shares()
        self._broker = ""
        # So many that a beat lies between them: a broker that stalls forgets heartbeats, and workers say them anew.
        self._looks: deque[Look] = deque(maxlen=1 + max(1, math.ceil(settings.INFERENCE_HEARTBEAT_S / LOOK_EVERY_S)))
        self._last_id, self._untrimmed, self._untrimmed_bytes = "0", 0, 0
        self._read_at = self._looked_at = time.monotonic()
        self._tasks = [asyncio.create_task(_for_ever(step)) for step in (self._read, self._look)]

    def expect(self, request_id: str, heard: Callable[[Event], None] = lambda event: None) -> None:
        """Keep the events of this request from now on, until `forget`; `heard` is told of each as it comes."""
        self._replies[request_id] = Reply(heard)

    def abandon(self, request_id: str) -> None:
        """End the reading of this request's events, with the error `cancelled`: nobody is there to be told of them."""
        if reply := self._replies.get(request_id):
            reply.fail("cancelled", "The client closed the connection.")

    def forget(self, request_id: str) -> None:
        self._replies.pop(request_id, None)

    async def cancel(self, request_id: str) -> None:
        """Have the workers drop a request: now, or as soon as the broker is back."""
        try:
            await asyncio.to_thread(claims.cancel, request_id)
        except redis.RedisError as error:
            logger.warning("%s is cancelled later: %s", request_id, error)
            self._unwanted.add(request_id)

    async def serving(self, model: str) -> list[heartbeats.Heartbeat]:
        """The workers that serve `model`. Raises OpenAIError 503 where none does, RedisError where none can be seen."""
        last = self._looks[-1] if self._looks else None
        if not last or not last.serves(model) or time.monotonic() - last.began > 2 * settings.INFERENCE_HEARTBEAT_S:
            last = Look(time.monotonic(), await heartbeats.async_live_workers())  # one may be ready by now
        if not last.serves(model):
            raise _no_worker()
        return [worker for worker in last.workers if worker.serves(model)]

    async def events(self, request_id: str, choices: int, model: str, timeout_s: float) -> AsyncGenerator[Event]:
        """The request's events, until the last of its `choices` answers is finished or a worker says that one failed.

        "waiting" comes when INFERENCE_KEEPALIVE_S have passed without an event. What no worker can say is raised as an
        OpenAIError: `worker_lost` when the heartbeat of the worker that took the request stops, `no_worker` when none
        is there to take it, `broker_unavailable` when none can be seen, `timeout` after `timeout_s`, `cancelled` after
        `abandon`, `client_too_slow` when too much waits to be read. Workers may be at the request all the same then.
        """
        reply, worker = self._replies[request_id], ""
        deaf = 0  # silences in a row without a word of Redis; of a process that was held up it is one, however long
        last = since = time.monotonic()
        deadline = since + timeout_s
        while choices:
            event, now = await reply.next(), time.monotonic()
            deaf = deaf + 1 if event is None and self._unheard_s > DEAF_S else 0
            if event is None:
                self._check_hope(worker, model, since, DEAF_S + deaf * SILENCE_S)
                if now > deadline:
                    raise _failure("timeout", f"The answer was not finished within {timeout_s:g} seconds.")
                if now - last < settings.INFERENCE_KEEPALIVE_S:
                    continue
                event = Event(request_id, "waiting")
            if event.kind == "claimed":
                worker, since = event.data["worker"], now
                continue
            choices = 0 if event.kind == "failed" else choices - event.is_last
            last = now
            yield event

    @property
    def hears(self) -> bool:
        """Whether it reads and looks; where it does not, nobody hears of an answer."""
        return self._unheard_s < BROKER_AWAY_S

    @property
    def _unheard_s(self) -> float:
        return time.monotonic() - min(self._read_at, self._looked_at)

    def _check_hope(self, worker: str, model: str, since: float, deaf_s: float) -> None:
        """Raise OpenAIError where a request from which nothing is heard will not be answered.

        `since` is when it was sent, or taken by `worker`: what was seen before that says nothing.
        """
        if deaf_s > BROKER_AWAY_S:
            raise _failure(EventsLost.code, LOST)
        looks = self._looks
        if len(looks) < (looks.maxlen or 0) or looks[0].began <= since:
            return
        if worker and not any(look.sees(worker) for look in looks):
            raise _failure(WorkerLost.code, str(WorkerLost()))
        if not worker and not any(look.serves(model) for look in looks):
            raise _no_worker()

    async def _read(self) -> None:
        """Wait for events, and hand them out."""
        reader = connections.async_connection()
        entries = await reader.xread({self.key: self._last_id}, block=BLOCK_MS, count=100)
        self._read_at = time.monotonic()
        for entry_id, fields in entries[0][1] if entries else []:
            self._last_id, self._untrimmed = entry_id, self._untrimmed + 1
            self._untrimmed_bytes += sum(map(len, fields.values()))
            try:
                events = [Event(*one) for one in json.loads(fields["events"])]
            except (LookupError, TypeError, ValueError):
                # An answer must not go on after a gap, and any may have one now.
                logger.exception("events that cannot be read: %d requests fail", len(self._replies))
                self._fail_all("internal_error", UNREADABLE)
                events = []
            for event in events:
                self._hand_out(event)
            await asyncio.sleep(0)  # whoever reads has read now: what is left waits for a client
        is_silent = not entries and self._untrimmed
        if is_silent or self._untrimmed >= TRIM_EVERY or self._untrimmed_bytes >= TRIM_BYTES:
            await reader.xtrim(self.key, minid=after(self._last_id), approximate=False)
            self._untrimmed = self._untrimmed_bytes = 0

    def _hand_out(self, event: Event) -> None:
        reply = self._replies.get(event.request_id)
        if reply is None or reply.has_failed:
            return
        try:
            reply.put(event)
        except Exception:  # of another version's worker; those beside it go on
            logger.exception("%s: an event that cannot be read", event.request_id)
            reply.fail("internal_error", UNREADABLE)
        if reply.has_failed:
            logger.warning("%s: it cannot be answered any more, so it is cancelled", event.request_id)
            self._unwanted.add(event.request_id)

    async def _look(self) -> None:
        """Who is there: this process, without which workers drop what nobody would read; the workers; the broker.

        Where the broker is another one than before, what that one held is lost.
        """
        began, reader = time.monotonic(), connections.async_connection()
        async with reader.pipeline(transaction=False) as pipeline:
            pipeline.set(inbox_alive_key(self.key), "1", px=int(ALIVE_TTL_S * 1000))
            pipeline.expire(self.key, INBOX_KEPT_S)
            await pipeline.execute()
        server = await reader.info("server")
        broker = server["run_id"]
        if self._broker not in {"", broker}:
            logger.warning("the broker started anew: %d requests are lost", len(self._replies))
            self._fail_all(EventsLost.code, LOST)
            self._last_id = "0"  # its clock may be behind, and so the ids that it gives
        self._broker = broker
        if unwanted := [*self._unwanted]:
            await asyncio.to_thread(claims.cancel, *unwanted)
            self._unwanted.difference_update(unwanted)
        await self.shares.renew(server["server_time_usec"] // 1000)
        self._looks.append(Look(began, await heartbeats.async_live_workers()))
        self._looked_at = began
        await asyncio.sleep(LOOK_EVERY_S)

    def _fail_all(self, code: str, message: str) -> None:
        for reply in self._replies.values():
            reply.fail(code, message)


_inboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = WeakKeyDictionary()


def inbox() -> Inbox:
    """The inbox of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _inboxes:
        _inboxes[loop] = Inbox()
    return _inboxes[loop]


def hears() -> bool:
    """Whether the running event loop hears of its requests; before the first one nothing needs to."""
    loop = asyncio.get_running_loop()
    return loop not in _inboxes or _inboxes[loop].hears


async def _for_ever(step: Callable[[], Awaitable[None]]) -> None:
    """`step` again and again, whatever goes wrong: without it no request would be answered."""
    task = asyncio.current_task()
    while task and not task.cancelling():  # asked, since Python 3.11's `wait_for` in redis-py can lose a cancellation
        try:
            await step()
        except Exception as error:
            if isinstance(error, redis.RedisError):  # requests are told by what they miss
                logger.warning("the inbox waits for Redis: %s", error)
            else:
                logger.exception("the inbox failed, and goes on")
            await asyncio.sleep(SILENCE_S)


def _weight(event: Event) -> int:
    """Its tokens and the alternatives to them; of an echo without them, as many as its text would have."""
    if event.kind not in {"started", "delta"}:
        return 1
    entries = event.data.get("logprobs", ())
    tokens = len(event.data["token_ids"]) if event.kind == "delta" else 1 + len(event.data.get("echo", "")) // 4
    return tokens + sum(len(one["top_logprobs"] or ()) for one in entries)


def _failure(code: str, message: str) -> OpenAIError:
    return OpenAIError.from_failure({"code": code, "message": message})


def _no_worker() -> OpenAIError:
    return _failure("no_worker", "No inference worker serves this model: start one and try again.")

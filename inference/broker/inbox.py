"""The inbox of a web process: one reader for the events of all its requests, and a bounded queue for each request."""

import asyncio
import json
import logging
import math
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from asgiref.sync import sync_to_async
from django.conf import settings

from inference.broker import claims, connections, heartbeats
from inference.broker.errors import RequestFailed
from inference.broker.events import INBOX_KEPT_S, after, inbox_alive_key
from inference.broker.heartbeats import Heartbeat
from inference.broker.shares import Shares
from inference.interface import Event, EventsLost, WorkerLost

logger = logging.getLogger(__name__)

BLOCK_MS = 500
TRIM_EVERY, TRIM_BYTES = 64, 2**20
"""Entries, and their characters, after which Redis deletes the entries that were read; in a silence it deletes all."""
SILENCE_S = 0.5
"""A reader of a request's events wakes after this long without one."""
SNAPSHOT_EVERY_S = 0.5
ALIVE_TTL_S = 4.0
BROKER_AWAY_S = 5.0
SILENT_S = 2.0
"""Redis counts as silent after this long: longer than a read of events waits, and than the time between snapshots."""
BACKLOG = 16_384
"""Tokens, and alternatives to them, that may wait for a client which does not read: some 10 MB."""
UNREADABLE = "The server could not read its workers' events; its log says why."
LOST = str(EventsLost())
NO_WORKER = "No inference worker serves this model: start one and try again."


@dataclass(frozen=True)
class WorkerSnapshot:
    """The live workers at the moment `began`, by time.monotonic()."""

    began: float
    workers: list[Heartbeat]

    def serves(self, model: str) -> bool:
        return any(worker.serves(model) for worker in self.workers)

    def has(self, worker: str) -> bool:
        return any(heartbeat.worker == worker for heartbeat in self.workers)


@dataclass
class Reply:
    """The events of one request that its view has not read yet; `heard` is called with each event when it arrives."""

    heard: Callable[[Event], None]
    has_failed: bool = False
    _weight: int = 0
    _unread: "asyncio.Queue[Event | RequestFailed]" = field(default_factory=asyncio.Queue)

    def put(self, event: Event) -> None:
        """Append an event; beyond BACKLOG drop all unread events and fail the request."""
        self.heard(event)
        if self._weight > BACKLOG:  # without this event: an echo may be larger, and nobody could have read it
            while not self._unread.empty():
                self._unread.get_nowait()
            self.fail("client_too_slow", "The client stopped reading, so the answer was cancelled.")
            return
        self._weight += _weight(event)
        self._unread.put_nowait(event)

    def fail(self, code: str, message: str) -> None:
        """Take no more events; the unread ones are still read, and then this error is raised."""
        if not self.has_failed:
            self.has_failed = True
            self._unread.put_nowait(RequestFailed(code, message))

    async def next(self) -> Event | None:
        """The next event, None after SILENCE_S without one. Raises RequestFailed where there will be none."""
        try:
            async with asyncio.timeout(SILENCE_S if self._unread.empty() else None):
                event = await self._unread.get()
        except TimeoutError:
            return None
        if isinstance(event, RequestFailed):
            raise event
        self._weight -= _weight(event)
        return event


class Inbox:
    """The inbox of one event loop; `inbox()` returns that of the running one."""

    def __init__(self) -> None:
        self.key = f"millm:inbox:{uuid.uuid4().hex}"
        self._replies: dict[str, Reply] = {}
        self._uncancelled: set[str] = set()  # requests whose cancellation Redis has still to hear
        self.shares = Shares()
        self._broker = ""
        # Enough snapshots to span one heartbeat: after Redis stalls, heartbeats have expired and are rewritten one
        # beat later.
        spanned = math.ceil(settings.INFERENCE_HEARTBEAT_S / SNAPSHOT_EVERY_S)
        self._snapshots: deque[WorkerSnapshot] = deque(maxlen=1 + max(1, spanned))
        self._last_id, self._untrimmed, self._untrimmed_bytes = "0", 0, 0
        self._read_at = self._looked_at = time.monotonic()
        self._tasks = [asyncio.create_task(_for_ever(step)) for step in (self._read, self._look)]

    async def close(self) -> None:
        """End its tasks: the event loop of a command ends before its process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- requests ---

    def expect(self, request_id: str, heard: Callable[[Event], None] = lambda event: None) -> None:
        """Keep the events of this request from now on, until `forget`; call `heard` with each when it arrives."""
        self._replies[request_id] = Reply(heard)

    def reply(self, request_id: str) -> Reply:
        """The unread events of a request that `expect` was called for."""
        return self._replies[request_id]

    def abandon(self, request_id: str) -> None:
        """End the reading of this request's events with the error `cancelled`: its client is gone."""
        if reply := self._replies.get(request_id):
            reply.fail("cancelled", "The client closed the connection.")

    def forget(self, request_id: str) -> None:
        self._replies.pop(request_id, None)

    async def cancel(self, request_id: str) -> None:
        """Have the workers drop a request: now, or as soon as Redis answers again."""
        try:
            await asyncio.to_thread(claims.cancel, request_id)
        except redis.RedisError as error:
            logger.warning("%s is cancelled later: %s", request_id, error)
            self._uncancelled.add(request_id)

    # --- the state of workers and Redis ---

    async def serving(self, model: str, why_not: Callable[[], str] = str) -> list[Heartbeat]:
        """The workers that serve `model`. Raises RequestFailed `no_worker`, with what `why_not` says, where none does.

        `why_not` may wait for Redis, and is called in a thread.

        Raises RedisError where Redis does not answer.
        """
        last = self._snapshots[-1] if self._snapshots else None
        if not last or not last.serves(model) or time.monotonic() - last.began > 2 * settings.INFERENCE_HEARTBEAT_S:
            last = WorkerSnapshot(time.monotonic(), await heartbeats.async_live_workers())  # one may be ready by now
        if not last.serves(model):
            raise RequestFailed("no_worker", await sync_to_async(why_not)() or NO_WORKER)
        return [worker for worker in last.workers if worker.serves(model)]

    @property
    def is_connected(self) -> bool:
        """True where Redis answers this inbox; while it does not, no event reaches this process."""
        return self._silent_s < BROKER_AWAY_S

    @property
    def is_silent(self) -> bool:
        """True where Redis has not answered this inbox for SILENT_S."""
        return self._silent_s > SILENT_S

    @property
    def _silent_s(self) -> float:
        return time.monotonic() - min(self._read_at, self._looked_at)

    def raise_if_lost(self, worker: str, model: str, since: float, silences: int) -> None:
        """Raise RequestFailed where a request without an event will get none.

        The request was sent, or claimed by `worker`, at `since`: an older snapshot proves nothing about it. It has
        waited SILENCE_S `silences` times in a row while Redis was silent.
        """
        if SILENT_S + silences * SILENCE_S > BROKER_AWAY_S:
            raise RequestFailed(EventsLost.code, LOST)
        snapshots = self._snapshots
        if len(snapshots) < (snapshots.maxlen or 0) or snapshots[0].began <= since:
            return
        if worker and not any(snapshot.has(worker) for snapshot in snapshots):
            raise RequestFailed(WorkerLost.code, str(WorkerLost(heartbeats.silence_s())))
        if not worker and not any(snapshot.serves(model) for snapshot in snapshots):
            raise RequestFailed("no_worker", NO_WORKER)

    # --- the two loops ---

    async def _read(self) -> None:
        """Wait for entries, hand their events out, and have Redis delete what was read."""
        reader = connections.async_connection()
        entries = await reader.xread({self.key: self._last_id}, block=BLOCK_MS, count=100)
        self._read_at = time.monotonic()
        for entry_id, fields in entries[0][1] if entries else []:
            self._last_id, self._untrimmed = entry_id, self._untrimmed + 1
            self._untrimmed_bytes += sum(map(len, fields.values()))
            for event in self._parsed(fields):
                self._hand_out(event)
            await asyncio.sleep(0)  # the views read now: what stays unread waits for a client
        is_silent = not entries and self._untrimmed
        if is_silent or self._untrimmed >= TRIM_EVERY or self._untrimmed_bytes >= TRIM_BYTES:
            await reader.xtrim(self.key, minid=after(self._last_id), approximate=False)
            self._untrimmed = self._untrimmed_bytes = 0

    def _parsed(self, fields: dict[str, str]) -> list[Event]:
        """The events of an entry. An unreadable one fails all requests: any of their answers may have a gap now."""
        try:
            return [Event(*one) for one in json.loads(fields["events"])]
        except (LookupError, TypeError, ValueError):
            logger.exception("events that cannot be read: %d requests fail", len(self._replies))
            self._fail_all("internal_error", UNREADABLE)
            return []

    def _hand_out(self, event: Event) -> None:
        reply = self._replies.get(event.request_id)
        if reply is None or reply.has_failed:
            return
        try:
            reply.put(event)
        except Exception:  # a worker of another version wrote it; the other requests go on
            logger.exception("%s: an event that cannot be read", event.request_id)
            reply.fail("internal_error", UNREADABLE)
        if reply.has_failed:
            logger.warning("%s: it cannot be answered any more, so it is cancelled", event.request_id)
            self._uncancelled.add(event.request_id)

    async def _look(self) -> None:
        """Say that this process is alive, else workers drop its requests; take a snapshot of the workers.

        Where Redis is another process than before, the events that the one before held are lost.
        """
        began, reader = time.monotonic(), connections.async_connection()
        async with reader.pipeline(transaction=False) as pipeline:
            pipeline.set(inbox_alive_key(self.key), "1", px=int(ALIVE_TTL_S * 1000))
            pipeline.expire(self.key, INBOX_KEPT_S)
            await pipeline.execute()
        server = await reader.info("server")
        broker = server["run_id"]
        if self._broker not in {"", broker}:
            logger.warning("Redis was restarted: %d requests are lost", len(self._replies))
            self._fail_all(EventsLost.code, LOST)
            self._last_id = "0"  # its clock may be behind, and so the ids that it gives
        self._broker = broker
        if uncancelled := [*self._uncancelled]:
            await asyncio.to_thread(claims.cancel, *uncancelled)
            self._uncancelled.difference_update(uncancelled)
        await self.shares.renew(server["server_time_usec"] // 1000)
        self._snapshots.append(WorkerSnapshot(began, await heartbeats.async_live_workers()))
        self._looked_at = began
        await asyncio.sleep(SNAPSHOT_EVERY_S)

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


def is_connected() -> bool:
    """True where Redis answers the inbox of the running event loop; without an inbox nothing has to be heard."""
    loop = asyncio.get_running_loop()
    return loop not in _inboxes or _inboxes[loop].is_connected


async def _for_ever(step: Callable[[], Awaitable[None]]) -> None:
    """Run `step` again and again, whatever goes wrong: without it no request would be answered."""
    task = asyncio.current_task()
    # `cancelling` is asked, since redis-py can lose a cancellation by Python 3.11's `wait_for`.
    while task and not task.cancelling():
        try:
            await step()
        except Exception as error:
            if isinstance(error, redis.RedisError):  # requests notice by what they miss
                logger.warning("the inbox waits for Redis: %s", error)
            else:
                logger.exception("the inbox failed, and goes on")
            await asyncio.sleep(SILENCE_S)


def _weight(event: Event) -> int:
    """The tokens of an event and the alternatives to them; an echo without them counts as many as its text would."""
    if event.kind not in {"started", "delta"}:
        return 1
    entries = event.data.get("logprobs", ())
    tokens = len(event.data["token_ids"]) if event.kind == "delta" else 1 + len(event.data.get("echo", "")) // 4
    return tokens + sum(len(one["top_logprobs"] or ()) for one in entries)

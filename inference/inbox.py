"""Where a web process reads the events of all its requests: one reader, and a queue for each request."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings

from inference import stream
from inference.generation import Event

logger = logging.getLogger(__name__)

BLOCK_MS = 500
TRIM_EVERY = 64  # entries; what was read is not needed any more
SILENCE_S = 0.5
LOOK_EVERY_S = 0.5
ALIVE_TTL_S = 4.0
BROKER_AWAY_S = 5.0
LOST = "The broker was away while this was answered: try again."


class Inbox:
    """The inbox of one event loop; `inbox()` gives the running one's."""

    def __init__(self) -> None:
        self.key = f"millm:inbox:{uuid.uuid4().hex}"
        self._queues: dict[str, asyncio.Queue[Event]] = {}
        self._broker = ""
        self._workers: list[stream.Heartbeat] = []
        self._looked_at = time.monotonic()  # for workers: once for all requests, of which hundreds may wait
        self._reader = asyncio.create_task(self._read())

    def expect(self, request_id: str) -> None:
        """Keep the events of this request from now on, until `forget`."""
        self._queues[request_id] = asyncio.Queue()

    def forget(self, request_id: str) -> None:
        self._queues.pop(request_id, None)

    async def events(self, request_id: str, choices: int, model: str, timeout_s: float) -> AsyncGenerator[Event]:
        """The request's events, until the last of its `choices` answers is finished or one has failed.

        "waiting" comes when INFERENCE_KEEPALIVE_S have passed without an event. What no worker can say any more is said
        here: `worker_lost` when the heartbeat of the worker that took the request stops, `no_worker` when none is there
        to take it, `broker_unavailable` when none can be seen, `timeout` after `timeout_s`.
        """
        queue, worker, deadline = self._queues[request_id], "", time.monotonic() + timeout_s
        last = since = time.monotonic()
        while choices:
            event = await _next(queue)
            if event is None:
                event = self._failure(request_id, worker, model, since)
            if event is None and time.monotonic() > deadline:
                event = _failed(request_id, "timeout", f"The answer was not finished within {timeout_s:g} seconds.")
            if event is None and time.monotonic() - last >= settings.INFERENCE_KEEPALIVE_S:
                event = Event(request_id, "waiting")
            if event is None:
                continue
            if event.kind == "claimed":
                worker, since = event.data["worker"], time.monotonic()
                continue
            choices = 0 if event.kind == "failed" else choices - event.is_last
            last = time.monotonic()
            yield event

    async def _read(self) -> None:
        last_id, read, next_look = "0", 0, 0.0
        while True:
            try:
                reader = stream.async_connection()
                if time.monotonic() >= next_look:
                    await self._look(reader)
                    next_look = time.monotonic() + LOOK_EVERY_S
                entries = await reader.xread({self.key: last_id}, block=BLOCK_MS, count=100)
                for entry_id, fields in entries[0][1] if entries else []:
                    last_id, read = entry_id, read + 1
                    self._hand_out(fields["events"])
                if read >= TRIM_EVERY:
                    read = 0
                    await reader.xtrim(self.key, minid=last_id)
            except redis.RedisError as error:  # requests are told by what they miss; this goes on when Redis is back
                logger.warning("no events are read: %s", error)
                await asyncio.sleep(SILENCE_S)

    async def _look(self, reader: "redis.asyncio.Redis") -> None:
        """Who is there: this process, without which workers drop what nobody would read; the workers; the broker.

        Where the broker is another one than before, what that one held is lost.
        """
        began = time.monotonic()
        await reader.set(stream.inbox_alive_key(self.key), "1", px=int(ALIVE_TTL_S * 1000))
        broker = (await reader.info("server"))["run_id"]
        if self._broker not in {"", broker}:
            logger.warning("the broker started anew: %d requests are lost", len(self._queues))
            for request_id, queue in self._queues.items():
                queue.put_nowait(_failed(request_id, "broker_unavailable", LOST))
        self._broker = broker
        self._workers, self._looked_at = await stream.async_live_workers(), began

    def _failure(self, request_id: str, worker: str, model: str, since: float) -> Event | None:
        """Why a request from which nothing is heard will not be answered, or None if it just takes time.

        `since` is when it was sent, or taken by `worker`: what was seen before that says nothing.
        """
        if time.monotonic() - max(since, self._looked_at) > BROKER_AWAY_S:
            return _failed(request_id, "broker_unavailable", LOST)
        if self._looked_at <= since:
            return None
        if worker:
            if all(one.worker != worker for one in self._workers):
                message = "The inference worker died before the answer was complete: try again."
                return _failed(request_id, "worker_lost", message)
        elif not any(one.serves(model) for one in self._workers):
            message = "No inference worker serves this model: start one and try again."
            return _failed(request_id, "no_worker", message)
        return None

    def _hand_out(self, listed: str) -> None:
        for request_id, kind, data in json.loads(listed):
            if queue := self._queues.get(request_id):
                queue.put_nowait(Event(request_id, kind, data))


_inboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Inbox] = WeakKeyDictionary()


def inbox() -> Inbox:
    """The inbox of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _inboxes:
        _inboxes[loop] = Inbox()
    return _inboxes[loop]


async def _next(queue: asyncio.Queue[Event]) -> Event | None:
    """The next event, None after some silence."""
    if not queue.empty():
        return queue.get_nowait()
    try:
        async with asyncio.timeout(SILENCE_S):
            return await queue.get()
    except TimeoutError:
        return None


def _failed(request_id: str, code: str, message: str) -> Event:
    return Event(request_id, "failed", {"code": code, "message": message})

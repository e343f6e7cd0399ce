"""What workers tell the web, through Redis.

Events go to the inbox of the web process that waits for them: one Redis stream a process, so that a step of the engine
costs one write and one read, however many requests are in it. Beside it: each worker's heartbeat, a key that
expires, and the cancellations, a channel that all workers read and a key for requests that no worker has taken yet.
"""

import asyncio
import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Self
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings

from inference.interface import Event

logger = logging.getLogger(__name__)

KEPT_S = math.ceil(settings.INFERENCE_REQUEST_TIMEOUT_S) + 300  # what is known of a request, until it is over for sure
INBOX_KEPT_S = 60  # of a web process that is gone
POLL_S = 0.5
CANCELLATIONS = "millm:cancellations"
WORKERS = "millm:workers"  # the ids of those that were alive lately
TELL_S = 60.0


def _cancelled_key(request_id: str) -> str:
    return f"millm:cancelled:{request_id}"


def _heartbeat_key(worker: str) -> str:
    return f"millm:worker:{worker}"


# This process's pool of connections, for all threads; it connects when it is first used. It is bounded, since hundreds
# of requests may begin at once, each in a thread: a socket refuses what is more than its backlog.
_pool = redis.BlockingConnectionPool.from_url(settings.REDIS_URL, decode_responses=True, max_connections=32, timeout=10)
connection = redis.Redis(connection_pool=_pool)


_async_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


def async_connection() -> redis.asyncio.Redis:
    """The pool of connections of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _async_connections:
        # Bounded too, and one waits for its turn: hundreds of requests may end at once.
        url, options = settings.REDIS_URL, {"decode_responses": True, "max_connections": 8, "timeout": 10}
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, **options)
        _async_connections[loop] = redis.asyncio.Redis(connection_pool=pool)
    return _async_connections[loop]


@dataclass(frozen=True)
class Heartbeat:
    """The state of a worker, written every `INFERENCE_HEARTBEAT_S`; after three without one the worker is gone."""

    worker: str
    model: str
    status: str
    device: str
    running: int
    waiting: int
    max_requests: int
    generated_tokens: int
    memory_bytes: int = 0
    gpu_bytes: int | None = None
    """Of the tensors on its GPU; None on a CPU."""
    load: str = ""
    """The load that it serves, is at, or failed in: see `LanguageModel.load_id`."""
    progress: float | None = None
    """Of a download, from 0 to 1."""
    error: str = ""
    is_open: bool | None = None
    """Whether it takes requests for `model`, while it loads another one, too; None of a worker of an older version."""
    is_pinned: bool = False
    """By INFERENCE_MODEL: it serves its model whichever is current."""

    def serves(self, model: str) -> bool:
        return self.model == model and self.serves_any

    @property
    def serves_any(self) -> bool:
        return self.status == "ready" if self.is_open is None else self.is_open

    @classmethod
    def parse(cls, text: str) -> Self:
        """Also of a worker that is older or newer than this process, as while an installation is updated."""
        told = json.loads(text)
        return cls(**{field.name: told[field.name] for field in fields(cls) if field.name in told})


def write_heartbeat(heartbeat: Heartbeat) -> None:
    ttl_ms = int(settings.INFERENCE_HEARTBEAT_S * 3000)
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.set(_heartbeat_key(heartbeat.worker), json.dumps(asdict(heartbeat)), px=ttl_ms)
        pipeline.sadd(WORKERS, heartbeat.worker)
        pipeline.execute()


def clear_heartbeat(worker: str) -> None:
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.delete(_heartbeat_key(worker))
        pipeline.srem(WORKERS, worker)
        pipeline.execute()


def live_workers() -> list[Heartbeat]:
    """The workers whose heartbeat is fresh."""
    workers = sorted(connection.smembers(WORKERS))
    values = connection.mget(map(_heartbeat_key, workers)) if workers else []
    if silent := [worker for worker, value in zip(workers, values, strict=True) if not value]:
        connection.srem(WORKERS, *silent)  # one that comes back says so itself
    return _parsed(values)


async def async_live_workers() -> list[Heartbeat]:
    """The same from the running event loop."""
    reader = async_connection()
    workers = sorted(await reader.smembers(WORKERS))
    values = await reader.mget(map(_heartbeat_key, workers)) if workers else []
    return _parsed(values)


def _parsed(values: Iterable[str | None]) -> list[Heartbeat]:
    """The heartbeats that can be read: one that cannot must not hide the others."""
    found = []
    for value in filter(None, values):
        try:
            found.append(Heartbeat.parse(value))
        except (TypeError, ValueError) as error:
            logger.warning("a heartbeat cannot be read: %s", error)
    return found


def waiting_in(queues: Iterable[str]) -> list[int]:
    """How many requests wait in each of these queues for a worker that takes them."""
    with connection.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.llen(queue)
        return list(pipeline.execute())


def write_events(events: Iterable[tuple[str, Event]]) -> None:
    """Append events to the inboxes they are for, one entry an inbox, all in one round trip."""
    by_inbox: dict[str, list[Any]] = defaultdict(list)
    for inbox, event in events:
        by_inbox[inbox].append([event.request_id, event.kind, event.data])
    with connection.pipeline(transaction=False) as pipeline:
        for inbox, listed in by_inbox.items():
            pipeline.xadd(inbox, {"events": json.dumps(listed, default=dict)})
            pipeline.expire(inbox, INBOX_KEPT_S)
        pipeline.execute()


def after(entry_id: str) -> str:
    """The smallest id of an entry of an inbox behind this one."""
    milliseconds, _, number = entry_id.partition("-")
    return f"{milliseconds}-{int(number) + 1}"


def tell_failure(inbox: str, request_id: str, code: str, message: str, param: str | None = None) -> None:
    """The last event of a request, also when the broker is away just now."""
    event = Event(request_id, "failed", {"code": code, "message": message, "param": param})
    deadline = time.monotonic() + TELL_S
    while True:
        try:
            return write_events([(inbox, event)])
        except redis.RedisError as error:
            if time.monotonic() > deadline:
                logger.error("%s: nobody hears that it failed: %s", request_id, error)
                return None
        time.sleep(POLL_S)


def unix_time(told: tuple[int, int]) -> float:
    """Seconds, of what Redis answers to TIME."""
    seconds, microseconds = told
    return seconds + microseconds / 1_000_000


def seconds_until(deadline: float) -> float:
    """How long it is until `deadline` by the clock of Redis, which web and worker share: theirs may be hours apart."""
    return deadline - unix_time(connection.time())


def take(request_id: str, worker: str) -> bool:
    """Whether the request is this worker's now. A message may be in a queue twice, and is answered once."""
    return bool(connection.set(f"millm:taken:{request_id}", worker, nx=True, ex=KEPT_S))


def taker_is_alive(request_id: str) -> bool:
    """Whether the worker that took the request is there."""
    taker = connection.get(f"millm:taken:{request_id}")
    return any(one.worker == taker for one in live_workers())


def inbox_alive_key(inbox: str) -> str:
    return f"millm:alive:{inbox}"


def alive_inboxes(inboxes: Iterable[str]) -> set[str]:
    """Those whose web process still reads them."""
    asked = sorted(inboxes)
    values = connection.mget([inbox_alive_key(inbox) for inbox in asked]) if asked else []
    return {inbox for inbox, value in zip(asked, values, strict=True) if value}


def cancel(*request_ids: str) -> None:
    """Ask whichever workers have these requests, or will get them, to drop them."""
    with connection.pipeline(transaction=False) as pipeline:
        for request_id in request_ids:
            pipeline.set(_cancelled_key(request_id), "1", ex=KEPT_S)
            pipeline.publish(CANCELLATIONS, request_id)
        pipeline.execute()


def is_cancelled(request_id: str) -> bool:
    return bool(connection.exists(_cancelled_key(request_id)))


def cancelled_among(request_ids: list[str]) -> list[str]:
    """Those that are to be dropped."""
    marks = connection.mget(map(_cancelled_key, request_ids)) if request_ids else []
    return [request_id for request_id, mark in zip(request_ids, marks, strict=True) if mark]


def listen_for_cancellations(cancelled: Callable[[str], None]) -> redis.client.PubSubWorkerThread:
    """Call `cancelled` with the id of each cancelled request, in a thread of its own until it is stopped."""
    subscription = connection.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(**{CANCELLATIONS: lambda message: cancelled(message["data"])})
    return subscription.run_in_thread(sleep_time=0.1, daemon=True, exception_handler=_wait_and_reconnect)


def _wait_and_reconnect(error: Exception, _subscription: Any, _thread: Any) -> None:
    """The subscription reconnects by itself at its next reading."""
    logger.warning("no cancellations are heard: %s", error)
    time.sleep(POLL_S)

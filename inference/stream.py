"""The way of a request's events from the worker to the web: one Redis stream a request.

Beside it: each worker's heartbeat, a key that expires, and the cancellations, a channel that all workers
read and a key for requests that no worker has taken yet.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings

from inference.generation import Event

logger = logging.getLogger(__name__)

EVENTS_TTL_S = 900
POLL_S = 0.5
CANCELLATIONS = "millm:cancellations"


def _events_key(request_id: str) -> str:
    return f"millm:events:{request_id}"


def _cancelled_key(request_id: str) -> str:
    return f"millm:cancelled:{request_id}"


def _heartbeat_key(worker: str) -> str:
    return f"millm:worker:{worker}"


# This process's pool of connections, for all threads; it connects when it is first used.
connection = redis.Redis.from_url(settings.REDIS_URL, decode_responses=True)


_async_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


def async_connection() -> redis.asyncio.Redis:
    """The pool of connections of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _async_connections:
        _async_connections[loop] = redis.asyncio.Redis.from_url(settings.REDIS_URL, decode_responses=True)
    return _async_connections[loop]


@dataclass(frozen=True)
class Heartbeat:
    """What a worker says of itself every `INFERENCE_HEARTBEAT_S`; silence for three of them means it is gone."""

    worker: str
    model: str
    status: str
    device: str
    running: int
    waiting: int
    max_requests: int
    generated_tokens: int


def write_heartbeat(heartbeat: Heartbeat) -> None:
    ttl_ms = int(settings.INFERENCE_HEARTBEAT_S * 3000)
    connection.set(_heartbeat_key(heartbeat.worker), json.dumps(asdict(heartbeat)), px=ttl_ms)


def clear_heartbeat(worker: str) -> None:
    connection.delete(_heartbeat_key(worker))


def live_workers() -> list[Heartbeat]:
    """The workers whose heartbeat is fresh."""
    keys = list(connection.scan_iter(_heartbeat_key("*"), count=1000))
    values = connection.mget(keys) if keys else []
    return [Heartbeat(**json.loads(value)) for value in values if value]


def write_events(events: Iterable[Event]) -> None:
    """Append events to their requests' streams: one entry a request, all in one round trip."""
    by_request = groupby(sorted(events, key=lambda event: event.request_id), key=lambda event: event.request_id)
    with connection.pipeline(transaction=False) as pipeline:
        for request_id, group in by_request:
            listed = list(group)
            entry = json.dumps([[event.kind, event.data] for event in listed], default=dict)
            pipeline.xadd(_events_key(request_id), {"events": entry})
            if listed[0].kind == "claimed" or any(event.is_last for event in listed):
                pipeline.expire(_events_key(request_id), EVENTS_TTL_S)
        pipeline.execute()


def cancel(request_id: str) -> None:
    """Ask whichever worker has the request, or will get it, to drop it."""
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.set(_cancelled_key(request_id), "1", ex=EVENTS_TTL_S)
        pipeline.publish(CANCELLATIONS, request_id)
        pipeline.execute()


def is_cancelled(request_id: str) -> bool:
    return bool(connection.exists(_cancelled_key(request_id)))


def forget(request_id: str) -> None:
    """The request is answered: drop its stream."""
    connection.delete(_events_key(request_id))


def listen_for_cancellations(cancelled: Callable[[str], None]) -> redis.client.PubSubWorkerThread:
    """Call `cancelled` with the id of each cancelled request, in a thread of its own until it is stopped."""
    subscription = connection.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(**{CANCELLATIONS: lambda message: cancelled(message["data"])})
    return subscription.run_in_thread(sleep_time=0.1, daemon=True, exception_handler=_wait_and_reconnect)


def _wait_and_reconnect(error: Exception, _subscription: Any, _thread: Any) -> None:
    """The subscription reconnects by itself at its next reading."""
    logger.warning("no cancellations are heard: %s", error)
    time.sleep(POLL_S)


async def read_events(
    request_id: str, choices: int, queue_is_served: Callable[[], bool], timeout_s: float
) -> AsyncGenerator[Event]:
    """The request's events, until the last of its `choices` answers is finished or one has failed.

    What no worker can say any more is said here: `worker_lost` when the heartbeat of the worker that took the
    request stops, `no_worker` when none is there to take it, `timeout` after `timeout_s`.
    """
    reader, last_id, worker = async_connection(), "0", ""
    deadline = time.monotonic() + timeout_s
    while True:
        entries = await reader.xread({_events_key(request_id): last_id}, block=int(POLL_S * 1000))
        for entry_id, fields in entries[0][1] if entries else []:
            last_id = entry_id
            for kind, data in json.loads(fields["events"]):
                event = Event(request_id, kind, data)
                if kind == "claimed":
                    worker = data["worker"]
                else:
                    yield event
                choices = 0 if event.kind == "failed" else choices - event.is_last
                if not choices:
                    return
        if not entries and (failure := await _failure(worker, queue_is_served)):
            yield Event(request_id, "failed", failure)
            return
        if time.monotonic() > deadline:
            message = f"The answer was not finished within {timeout_s:g} seconds."
            yield Event(request_id, "failed", {"code": "timeout", "message": message})
            return


async def _failure(worker: str, queue_is_served: Callable[[], bool]) -> dict[str, Any] | None:
    """Why a request from which nothing is heard will not be answered, or None if it just takes time."""
    if worker:
        if not await async_connection().exists(_heartbeat_key(worker)):
            message = "The inference worker died before the answer was complete: try again."
            return {"code": "worker_lost", "message": message}
    elif not await asyncio.to_thread(queue_is_served):
        return {"code": "no_worker", "message": "No inference worker serves this model: start one and try again."}
    return None

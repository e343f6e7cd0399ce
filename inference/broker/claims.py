"""Marks on single requests in Redis: the worker that claimed a request, and the cancellation of a request.

A cancellation is a message on a channel that all workers read, and a key for requests that no worker has claimed yet.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings

from inference.broker import connections
from inference.broker.heartbeats import live_workers

logger = logging.getLogger(__name__)

KEPT_S = math.ceil(settings.INFERENCE_REQUEST_TIMEOUT_S) + 300  # a mark outlives its request
CANCELLATIONS = "millm:cancellations"
RECONNECT_S = 0.5


def _claim_key(request_id: str) -> str:
    return f"millm:taken:{request_id}"


def _cancelled_key(request_id: str) -> str:
    return f"millm:cancelled:{request_id}"


@dataclass(frozen=True)
class Claim:
    """The answer of Redis to a claim: the time there, and whether the request was cancelled, or claimed before."""

    now: float
    """Unix time in seconds: the clocks of web and worker may be hours apart."""
    is_cancelled: bool
    is_first: bool
    """False where the request is claimed already: a message may be in a queue twice, and must be answered once."""


def claim(request_id: str, worker: str) -> Claim:
    """Claim a request for this worker, in one round trip, since its first token waits. Raises RedisError."""
    with connections.connection.pipeline(transaction=False) as pipeline:
        pipeline.time().exists(_cancelled_key(request_id))
        pipeline.set(_claim_key(request_id), worker, nx=True, ex=KEPT_S)
        now, is_cancelled, is_first = pipeline.execute()
    return Claim(connections.unix_time(now), bool(is_cancelled), bool(is_first))


def claimer_is_alive(request_id: str) -> bool:
    """True where the worker that claimed the request is alive. Raises RedisError."""
    claimer = connections.connection.get(_claim_key(request_id))
    return any(heartbeat.worker == claimer for heartbeat in live_workers())


def cancel(*request_ids: str) -> None:
    """Ask the workers that have these requests, or will get them, to drop them. Raises RedisError."""
    with connections.connection.pipeline(transaction=False) as pipeline:
        for request_id in request_ids:
            pipeline.set(_cancelled_key(request_id), "1", ex=KEPT_S)
            pipeline.publish(CANCELLATIONS, request_id)
        pipeline.execute()


def is_cancelled(request_id: str) -> bool:
    """True where the request was cancelled. Raises RedisError."""
    return bool(connections.connection.exists(_cancelled_key(request_id)))


def cancelled_among(request_ids: list[str]) -> list[str]:
    """The cancelled ones of these requests. Raises RedisError."""
    marks = connections.connection.mget(map(_cancelled_key, request_ids)) if request_ids else []
    return [request_id for request_id, mark in zip(request_ids, marks, strict=True) if mark]


def listen_for_cancellations(cancelled: Callable[[str], None]) -> redis.client.PubSubWorkerThread:
    """Call `cancelled` with the id of each cancelled request, in a new thread, until the thread is stopped.

    Raises RedisError where the subscription fails.
    """
    subscription = connections.connection.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe(**{CANCELLATIONS: lambda message: cancelled(message["data"])})
    return subscription.run_in_thread(sleep_time=0.1, daemon=True, exception_handler=_wait_and_reconnect)


def _wait_and_reconnect(error: Exception, _subscription: Any, _thread: Any) -> None:
    """The subscription reconnects by itself at its next read."""
    logger.warning("Redis does not answer, so this worker hears no cancellations: %s", error)
    time.sleep(RECONNECT_S)

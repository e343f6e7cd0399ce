"""Events of requests, which workers write to the inbox of the web process that waits for them.

An inbox is one Redis stream per web process, so that a step of the engine costs one write and one read, however many
requests are in it.
"""

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import redis

from inference.broker import connections
from inference.interface import Event

logger = logging.getLogger(__name__)

INBOX_KEPT_S = 60  # after its web process has died
RETRY_S = 0.5
REPORT_S = 60.0
"""A failure is reported again and again for this long while Redis does not answer."""


def write_events(events: Iterable[tuple[str, Event]]) -> None:
    """Append (inbox, event) pairs to their inboxes: one entry per inbox, in one round trip. Raises RedisError."""
    by_inbox: dict[str, list[Any]] = defaultdict(list)
    for inbox, event in events:
        by_inbox[inbox].append([event.request_id, event.kind, event.data])
    with connections.connection.pipeline(transaction=False) as pipeline:
        for inbox, listed in by_inbox.items():
            pipeline.xadd(inbox, {"events": json.dumps(listed, default=dict)})
            pipeline.expire(inbox, INBOX_KEPT_S)
        pipeline.execute()


def report_failure(inbox: str, request_id: str, code: str, message: str, param: str | None = None) -> None:
    """Write the last event of a failed request; waits up to REPORT_S for Redis."""
    event = Event(request_id, "failed", {"code": code, "message": message, "param": param})
    deadline = time.monotonic() + REPORT_S
    while True:
        try:
            return write_events([(inbox, event)])
        except redis.RedisError as error:
            if time.monotonic() > deadline:
                logger.error("%s: its failure is not reported: %s", request_id, error)
                return None
        time.sleep(RETRY_S)


def after(entry_id: str) -> str:
    """The smallest id that an entry after this one can have."""
    milliseconds, _, number = entry_id.partition("-")
    return f"{milliseconds}-{int(number) + 1}"


def inbox_alive_key(inbox: str) -> str:
    """The key that a web process keeps alive while it reads its inbox."""
    return f"millm:alive:{inbox}"


def alive_inboxes(inboxes: Iterable[str]) -> set[str]:
    """The inboxes whose web process still reads them. Raises RedisError."""
    asked = sorted(inboxes)
    values = connections.connection.mget([inbox_alive_key(inbox) for inbox in asked]) if asked else []
    return {inbox for inbox, value in zip(asked, values, strict=True) if value}

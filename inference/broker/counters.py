"""Counters in Redis: requests and tokens of each minute, for two hours; activations of profiles, since Redis began.

A web counts a request once, when it has ended. A worker counts its tokens beside its heartbeat. The process that
activates a profile counts the activation. Without Redis nothing is counted, and everything else works.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from redis import RedisError

from inference.broker import connections

logger = logging.getLogger(__name__)

MINUTE_S = 60
MINUTES = 60
KEPT_S = 2 * MINUTES * MINUTE_S

ACTIVATIONS = "millm:activations"

Outcome = Literal["answered", "refused", "failed", "cancelled"]
"""`refused`: the client's fault; `failed`: the server's; `cancelled`: the client closed the connection."""


@dataclass(frozen=True)
class Minute:
    """The sums of one minute: requests by outcome, answers with a first token and the seconds until it, tokens."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    first_tokens: int = 0
    first_token_s: float = 0.0
    tokens: int = 0

    @classmethod
    def parse(cls, counts: Mapping[str, str]) -> Self:
        known = {field.name: field.type for field in fields(cls)}
        return cls(**{name: known[name](value) for name, value in counts.items() if name in known})  # type: ignore[operator]

    @property
    def mean_first_token_s(self) -> float | None:
        return self.first_token_s / self.first_tokens if self.first_tokens else None


@dataclass(frozen=True)
class Hour:
    """The last sixty minutes; the last one has run for `elapsed_s`."""

    minutes: list[Minute]
    elapsed_s: float

    @property
    def total(self) -> Minute:
        """The sums of the hour."""
        sums = {one.name: sum(getattr(minute, one.name) for minute in self.minutes) for one in fields(Minute)}
        return Minute(**sums)

    @property
    def tokens_per_second(self) -> list[float]:
        """The rate of each minute; the running minute is completed by a share of the one before."""
        *whole, before, running = (minute.tokens for minute in self.minutes)
        last = before * (1 - self.elapsed_s / MINUTE_S) + running
        return [tokens / MINUTE_S for tokens in (*whole, before, last)]


def _key(minute: int) -> str:
    return f"millm:traffic:{minute}"


def _add(pipeline: Any, counts: Mapping[str, float]) -> None:
    key = _key(int(time.time()) // MINUTE_S)
    for name, count in counts.items():
        if isinstance(count, float):
            pipeline.hincrbyfloat(key, name, count)
        else:
            pipeline.hincrby(key, name, count)
    pipeline.expire(key, KEPT_S)


async def request_ended(outcome: Outcome, first_token_s: float | None) -> None:
    """Count a request; `first_token_s` is the time from its arrival to its first token, None without one."""
    counts: dict[str, float] = {outcome: 1}
    if first_token_s is not None:
        counts |= {"first_tokens": 1, "first_token_s": float(first_token_s)}
    try:
        async with connections.async_connection().pipeline(transaction=False) as pipeline:
            _add(pipeline, counts)
            await pipeline.execute()
    except RedisError as error:
        logger.warning("a request is not counted: %s", error)


def profile_activated(door: str, **_signal: Any) -> None:
    """Count an activation of a profile by its source (`door`): admin, API, chat or command."""
    try:
        connections.connection.hincrby(ACTIVATIONS, door, 1)
    except RedisError as error:
        logger.warning("an activation is not counted: %s", error)


def activations() -> dict[str, int]:
    """The number of activations by source. Raises RedisError."""
    return {door: int(count) for door, count in connections.connection.hgetall(ACTIVATIONS).items()}


def tokens_generated(tokens: int) -> bool:
    """Count tokens of answers. Returns False where Redis does not answer."""
    try:
        with connections.connection.pipeline(transaction=False) as pipeline:
            _add(pipeline, {"tokens": tokens})
            pipeline.execute()
    except RedisError as error:
        logger.warning("%d tokens are not counted yet: %s", tokens, error)
        return False
    return True


def last_hour() -> Hour:
    """The counters, in one round trip. Raises RedisError."""
    running, elapsed_s = divmod(time.time(), MINUTE_S)
    with connections.connection.pipeline(transaction=False) as pipeline:
        for minute in range(int(running) - MINUTES + 1, int(running) + 1):
            pipeline.hgetall(_key(minute))
        return Hour([Minute.parse(counts) for counts in pipeline.execute()], elapsed_s)

"""The share of one API key, or of one user of the admin: the answers that it may have in progress, in all webs.

Redis has a sorted set per holder: its members are requests with their numbers of answers, its scores the times at which
they expire. A web renews the requests that it holds, so those of a killed web expire by themselves.
"""

import logging
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from redis import RedisError

from inference.broker import connections
from inference.broker.errors import RequestFailed
from inference.broker.heartbeats import Heartbeat
from inference.interface import engine_capacity

logger = logging.getLogger(__name__)

LEASE_S = 15.0
HOLDER: ContextVar[str] = ContextVar("holder", default="")
"""The key or user of the running request; empty where no bound applies."""


def count_for(request: Any) -> None:
    """Count the running request as one of its key's, else of its user's, while a worker answers it."""
    key = getattr(request, "auth", None)
    HOLDER.set(f"key:{key.pk}" if key else f"user:{request.user.pk}")


TAKE = """
local time = redis.call('TIME')
local now, held = time[1] * 1000 + math.floor(time[2] / 1000), 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 2 * ARGV[4], '+inf') -- written before this clock was set back
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if member ~= ARGV[2] .. ' ' .. ARGV[1] then held = held + tonumber(string.match(member, '^%d+')) end -- sent twice
end
if held > 0 and held + ARGV[2] > tonumber(ARGV[3]) then return held end
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[2] .. ' ' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return -1
"""


class Shares:
    """The answers that the requests of one event loop hold."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, str]] = {}
        self._renewed_at = time.monotonic()

    async def take(self, request_id: str, answers: int, workers: Sequence[Heartbeat]) -> None:
        """Count `answers` as those of HOLDER, until `release`. Raises RequestFailed `share_used_up`, or RedisError.

        The share is a part of what `workers` take before they refuse more, in their batches and waiting.
        """
        holder = HOLDER.get()
        if not holder:
            return
        most = max(
            1, int(settings.INFERENCE_KEY_SHARE * sum(engine_capacity(worker.max_requests) for worker in workers))
        )
        key = f"millm:held:{holder}"
        self._held[request_id] = key, f"{answers} {request_id}"
        arguments = [request_id, answers, most, int(LEASE_S * 1000)]
        held = await connections.async_connection().eval(TAKE, 1, key, *arguments)
        if held >= 0:
            del self._held[request_id]
            expected = f"got {answers} more, expected at most {most} at once: wait until one has ended"
            raise RequestFailed("share_used_up", f"{held} answers of yours are in progress or wait: {expected}.")

    async def release(self, request_id: str) -> None:
        """Count the request's answers no more."""
        key, member = self._held.pop(request_id, ("", ""))
        if key:
            try:
                await connections.async_connection().zrem(key, member)
            except RedisError as error:
                logger.warning("%s still counts for some seconds: %s", request_id, error)

    async def renew(self, redis_time_ms: int) -> None:
        """Renew what is held, some times per LEASE_S. Raises RedisError."""
        if not self._held or time.monotonic() - self._renewed_at < LEASE_S / 5:
            return
        async with connections.async_connection().pipeline(transaction=False) as pipeline:
            for key, member in self._held.values():
                pipeline.zadd(key, {member: redis_time_ms + LEASE_S * 1000}, xx=True)
                pipeline.pexpire(key, int(LEASE_S * 1000))
            await pipeline.execute()
        self._renewed_at = time.monotonic()

"""The share of one API key, or of one user of the admin: how many answers it may have under way, in all webs together.

Redis has a sorted set a holder: its members are the requests with their numbers of answers, its scores the times at
which they count no more. A web puts these off while it holds a request, so that those of a killed web go by themselves.
"""

import logging
import time
from collections.abc import Sequence
from contextvars import ContextVar

from django.conf import settings
from redis import RedisError

from inference.broker import connections, heartbeats
from inference.openai.errors import OpenAIError

logger = logging.getLogger(__name__)

LEASE_S = 15.0
HOLDER: ContextVar[str] = ContextVar("holder", default="")
"""Who asks; empty: somebody who has no bound."""

TAKE = """
local time = redis.call('TIME')
local now, held = time[1] * 1000 + math.floor(time[2] / 1000), 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 2 * ARGV[4], '+inf') -- written before this clock was set back
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    held = held + tonumber(string.match(member, '^%d+'))
end
if held > 0 and held + ARGV[2] > tonumber(ARGV[3]) then return held end
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[2] .. ' ' .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return -1
"""


def places(workers: Sequence[heartbeats.Heartbeat]) -> int:
    """How many answers these workers take before they refuse more: those in their batches, and those that wait."""
    return sum(max(4 * worker.max_requests, 32) for worker in workers)


class Shares:
    """What the requests of one event loop hold."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, str]] = {}
        self._renewed_at = time.monotonic()

    async def take(self, request_id: str, answers: int, workers: Sequence[heartbeats.Heartbeat]) -> None:
        """Count `answers` as those of HOLDER, until `release`. Raises OpenAIError 429 beyond its share."""
        holder = HOLDER.get()
        if not holder:
            return
        most = max(1, int(settings.INFERENCE_KEY_SHARE * places(workers)))
        key = f"millm:held:{holder}"
        self._held[request_id] = key, f"{answers} {request_id}"
        arguments = [request_id, answers, most, int(LEASE_S * 1000)]
        held = await connections.async_connection().eval(TAKE, 1, key, *arguments)
        if held >= 0:
            del self._held[request_id]
            told = f"got {answers} more, expected at most {most} at once: wait until one has ended"
            raise OpenAIError(429, f"{held} answers of yours are under way or wait: {told}.", code="share_used_up")

    async def release(self, request_id: str) -> None:
        key, member = self._held.pop(request_id, ("", ""))
        if key:
            try:
                await connections.async_connection().zrem(key, member)
            except RedisError as error:
                logger.warning("%s counts for some seconds more: %s", request_id, error)

    async def renew(self, redis_time_ms: int) -> None:
        """Put off the end of all that is held, now and then. Raises RedisError."""
        if not self._held or time.monotonic() - self._renewed_at < LEASE_S / 5:
            return
        async with connections.async_connection().pipeline(transaction=False) as pipeline:
            for key, member in self._held.values():
                pipeline.zadd(key, {member: redis_time_ms + LEASE_S * 1000}, xx=True)
                pipeline.pexpire(key, int(LEASE_S * 1000))
            await pipeline.execute()
        self._renewed_at = time.monotonic()

"""This process's connections to Redis, and the clock of Redis, which webs and workers share."""

import asyncio
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

# One pool for all threads; it connects when it is first used. It is bounded, since hundreds of requests may begin at
# once, each in a thread: a socket refuses connections beyond its backlog.
_pool = redis.BlockingConnectionPool.from_url(settings.REDIS_URL, decode_responses=True, max_connections=32, timeout=10)
connection = redis.Redis(connection_pool=_pool)

_async_connections: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


def async_connection() -> redis.asyncio.Redis:
    """The pool of connections of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _async_connections:
        # Bounded too, and callers wait for a free connection: hundreds of requests may end at once.
        # A connection that broke while it was idle, as when Redis was away, is noticed by its next command only: the
        # command is sent once more. All that a web sends here may be done twice. A silent Redis is not asked again.
        again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        options = {"decode_responses": True, "max_connections": 8, "timeout": 10, "retry": again}
        pool = redis.asyncio.BlockingConnectionPool.from_url(settings.REDIS_URL, **options)
        _async_connections[loop] = redis.asyncio.Redis(connection_pool=pool)
    return _async_connections[loop]


def unix_time(answer: tuple[int, int]) -> float:
    """Unix time in seconds, from Redis's answer to TIME."""
    seconds, microseconds = answer
    return seconds + microseconds / 1_000_000

"""Connections to Redis that broke while nobody used them."""

import asyncio
from urllib.parse import urlsplit

from pytest_django import Settings

from inference.broker.connections import async_connection
from inference.tests.proxy import Proxy
from inference.tests.test_inbox import run

CONNECTIONS = 8


def test_after_redis_was_away_no_command_fails_on_a_connection_of_before(settings: Settings) -> None:
    """The pool does not notice that a connection broke: each one would fail the command that takes it."""
    broker = Proxy(urlsplit(settings.REDIS_URL).path)
    settings.REDIS_URL = f"redis://127.0.0.1:{broker.port}/0"

    async def test() -> None:
        async def at_once() -> list[object]:
            return [*await asyncio.gather(*[async_connection().ping() for _ in range(CONNECTIONS)])]

        await at_once()
        broker.go()
        broker.come()
        assert await at_once() == [True] * CONNECTIONS
        await async_connection().aclose()

    try:
        run(test)
    finally:
        broker.close()

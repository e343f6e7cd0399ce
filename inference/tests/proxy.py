"""A server that can be away: a TCP port in front of a socket, which drops its connections and refuses new ones.

Or it is silent: it takes connections and what is sent, and says nothing.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any

from inference.tests.conftest import free_port


class Proxy:
    """Forwards 127.0.0.1:`port` to a Unix socket, while it is `there`."""

    def __init__(self, socket: str) -> None:
        self.socket, self.port = socket, free_port()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.come()

    def come(self) -> None:
        self._run(self._listen())

    def go(self) -> None:
        self._run(self._drop())

    def fall_silent(self) -> None:
        self._loop.call_soon_threadsafe(self._speaks.clear)

    def speak(self) -> None:
        self._loop.call_soon_threadsafe(self._speaks.set)

    def close(self) -> None:
        self.go()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _drop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: Any = asyncio.current_task()
        self._tasks.add(task)
        behind: asyncio.StreamWriter | None = None
        try:
            answers, behind = await asyncio.open_unix_connection(self.socket)
            await _first_to_end(self._copy(reader, behind), self._copy(answers, writer))
        except asyncio.CancelledError:
            pass  # the server is away now
        finally:
            for one in (writer, behind):
                if one is not None:
                    one.transport.abort()
            self._tasks.discard(task)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self._speaks.wait()
                target.write(data)
                await target.drain()


async def _first_to_end(*ways: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

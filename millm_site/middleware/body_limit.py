"""The limit of request bodies: a body that is too large or too slow is refused before Django stores it.

Django writes a whole body to disk before any middleware or view sees the request. So this ASGI layer cuts the body off
on its way to Django. Django then answers the request as usual, by the middleware `refuses_bodies`. A sender without a
key or a login gets a limit of UNKNOWN_MAX bytes, which fit into memory.
"""

import asyncio
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from inference.broker.exchange import ASGI
from inference.openai.endpoint import as_openai_error, in_database
from inference.openai.errors import OpenAIError
from millm_site.middleware.refusals import refusing
from millm_site.middleware.sender_limit import UNKNOWN_MAX, limit_for_sender

LINGER_S = 2.0
REFUSAL = "millm.refusal"
LEAST_RATE = 2**14  # bytes a second of a body that may take longer than settings.REQUEST_READ_S


class TooSlow(OpenAIError):
    """Error: a body did not arrive in time."""

    def __init__(self, received: int) -> None:
        message = f"The body did not arrive in time: the server received {received} bytes of it. Send it again."
        super().__init__(408, message, code="request_timeout")


@refusing
def refuses_bodies(request: HttpRequest) -> OpenAIError | None:
    """The middleware that answers a request whose body was cut off."""
    error: OpenAIError | None = getattr(request, "scope", {}).get(REFUSAL)
    return error


def limits_bodies(application: ASGI) -> ASGI:
    """Wrap `application`, so that no body beyond the limit reaches it."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        body = Body(scope, receive, send)
        await application(scope, body.receive, body.send)
        await body.end()

    return limited


class Body:
    """The body of one request on its way to Django, and the answer on its way to the client."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._declared = max((int(value) for name, value in scope["headers"] if name == b"content-length"), default=0)
        self._received, self._waited_s = 0, 0.0
        self._limit: int = min(UNKNOWN_MAX, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        self._is_whole = self._is_open = False

    async def receive(self) -> Any:
        if REFUSAL in self._scope:  # Django listens for a disconnect until its answer is sent
            return await asyncio.get_running_loop().create_future()
        if self._is_whole:
            return await self._receive()
        try:
            await self._check(self._declared)  # before the first `receive`, which would send 100 Continue
            message = await self._next()
            self._received += len(message.get("body", b""))
            await self._check(self._received)
        except Exception as error:
            self._scope[REFUSAL] = as_openai_error(error)
            return {"type": "http.request", "body": b"", "more_body": False}
        if not message.get("more_body"):
            self._is_whole = True
            self._add_length_header()
        return message

    async def _check(self, size: int) -> None:
        """Raises OpenAIError if `size` bytes are too many."""
        if size > self._limit:
            self._limit = await in_database(limit_for_sender, self._scope, size)

    async def _next(self) -> Any:
        """Receive the next message. Raises TooSlow if the body as a whole takes too long."""
        loop = asyncio.get_running_loop()
        began, patience_s = loop.time(), settings.REQUEST_READ_S + self._received / LEAST_RATE - self._waited_s
        try:
            async with asyncio.timeout(patience_s):
                return await self._receive()
        except TimeoutError:
            raise TooSlow(self._received) from None
        finally:
            self._waited_s += loop.time() - began

    def _add_length_header(self) -> None:
        """Add the Content-Length of a body sent without one: Django's forms and DRF take such a body for empty."""
        if self._received and not self._declared:
            self._declared = self._received
            length = (b"content-length", str(self._received).encode())
            self._scope["headers"] = [*self._scope["headers"], length]

    async def send(self, message: Any) -> None:
        """Send to the client, but hold back the end of a refusal until `end`."""
        if REFUSAL in self._scope:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"Connection", b"close")]}
            elif not message.get("more_body"):
                message, self._is_open = {**message, "more_body": True}, True
        await self._send(message)

    async def end(self) -> None:
        """Read for LINGER_S more: a client that still sends when the connection closes may lose the unread answer."""
        if self._is_open:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while (await self._receive()).get("more_body"):
                        pass
            await self._send({"type": "http.response.body"})

"""uvicorn's HTTP protocol with the bounds that it lacks: how large the head of a request is, and how long it takes."""

import asyncio
from http import HTTPStatus
from typing import Any

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_MAX = 2**16  # bytes of the path and of all headers, also of those after a body
LINGER_S = 2.0  # who still sends when the connection is closed may lose an answer not yet read

REFUSALS = {
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"The path and the headers are larger than {HEAD_MAX} bytes.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time.",
}


class BoundedProtocol(HttpToolsProtocol):
    """One connection. What is refused here never reaches the application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._awaits_head = True  # else a body, or nothing of a request that is here
        self._has_begun = False
        self._head_size = 0
        self._unparsed = 0  # bytes since the parser made something of them: it keeps a header until its end
        self._is_refused = False

    # --- the connection ---

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._awaits_head:
            self._start_timer()
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    # --- what the parser finds ---

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._has_begun, self._head_size, self._unparsed = True, 0, 0
        self._start_timer()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self._awaits_head = self._has_begun = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._awaits_head, self._unparsed = True, 0
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._unparsed = 0
        self._head_size += size
        if self._head_size > HEAD_MAX:
            raise ValueError("too large")  # it ends the parser, which has `send_400_response` called

    # --- refusals ---

    def send_400_response(self, msg: str) -> None:
        if self._head_size > HEAD_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: a request that asks for another protocol is answered in this one, as any other."""

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(settings.REQUEST_READ_S, self._time_is_over)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_over(self) -> None:
        if self._has_begun:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Say why, and close. The connection alone is closed where an answer is under way."""
        self._is_refused = True
        self._stop_timer()
        if self.transport.is_closing() or (self.cycle and not self.cycle.response_complete):
            self.transport.close()
            return
        told = REFUSALS[status].encode()
        headers = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        self.transport.write(STATUS_LINE[status] + headers + b"content-length: %d\r\n\r\n%b" % (len(told), told))
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

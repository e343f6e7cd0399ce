"""uvicorn's HTTP protocol with the limits that it lacks: size of a request's head, and time until it has arrived."""

import asyncio
from http import HTTPStatus
from typing import Any

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_MAX = 2**16  # bytes of the path and of all headers, trailers included
LINGER_S = 2.0  # a client that still sends when the connection closes may lose an unread answer

REFUSALS = {
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"The path and the headers are larger than {HEAD_MAX} bytes.",
    HTTPStatus.REQUEST_TIMEOUT: "The request did not arrive in time.",
}


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A refused request never reaches the application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._awaits_head = True  # False: the head has arrived, and the body may still arrive
        self._has_begun = False
        self._head_size = 0
        self._unparsed = 0  # bytes since the parser's last callback: it buffers a header until its end
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

    # --- callbacks of the parser ---

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
            raise ValueError("too large")  # ends the parser; uvicorn then calls `send_400_response`

    # --- refusals ---

    def send_400_response(self, msg: str) -> None:
        if self._head_size > HEAD_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a request for another protocol is answered as any other request."""

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
        """Answer with `status` and close the connection; if an answer is in progress, only close."""
        self._is_refused = True
        self._stop_timer()
        if self.transport.is_closing() or (self.cycle and not self.cycle.response_complete):
            self.transport.close()
            return
        body = REFUSALS[status].encode()
        headers = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        self.transport.write(STATUS_LINE[status] + headers + b"content-length: %d\r\n\r\n%b" % (len(body), body))
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)

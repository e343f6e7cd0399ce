"""A body beyond the limit, or one that stops, is refused before it is read, whoever sends it and wherever to.

Of somebody who has neither a key nor a login no more is taken than fits into memory. Django writes all of a body to the
disk before any middleware or view sees the request. Here it is cut off on its way to Django, which answers the request
as any other: by `refuses_bodies`, in the shape of the door.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve
from django.utils.decorators import sync_and_async_middleware

from inference.broker.exchange import ASGI
from inference.openai.endpoint import as_openai_error, in_database
from inference.openai.errors import OpenAIError
from millm_site.models import APIKey

LINGER_S = 2.0
REFUSAL = "millm.refusal"
UNKNOWN_MAX = 2**16  # bytes of whoever is not known: such as the form of a login
LEAST_RATE = 2**14  # bytes a second of a body that may take longer than settings.REQUEST_READ_S
FORM_MAX = 16  # times the limit: of a file in a form that says beside its field that it is too large


class TooLarge(OpenAIError):
    """A body beyond `limit` bytes."""

    def __init__(self, limit: int, *, may_be_larger: bool = False) -> None:
        hint = " A file may be larger here if you may import it: check your login or key." if may_be_larger else ""
        told = f"The body is larger than the {limit} bytes that this server takes.{hint}"
        super().__init__(413, told, code="request_too_large")
        self.page = f"This server takes at most {filesizeformat(limit)} at once.{hint} Go back, and send less."


class UnknownSender(OpenAIError):
    """A body beyond UNKNOWN_MAX from somebody who has neither a key nor a login."""

    def __init__(self) -> None:
        told = f"A body of more than {UNKNOWN_MAX} bytes needs a valid API key or login: check your login or key."
        super().__init__(401, told, code="invalid_api_key")


class TooSlow(OpenAIError):
    """A body that did not arrive in its time."""

    def __init__(self, received: int) -> None:
        told = f"The body did not arrive in time: {received} bytes of it came. Send it again."
        super().__init__(408, told, code="request_timeout")


# --- where files are imported ---


def _imports() -> dict[str, tuple[str, int]]:
    """Of each view that takes files: the permission that is needed to send larger ones, and how large."""
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    labels = ("steering.add_featurelabel", settings.LABELS_MAX_BYTES + limit)  # with the rest of the form
    return {
        "admin:steering_featurelabel_import_labels": labels,
        "labels_import": labels,
        "admin:profiles_profile_import_profiles": ("profiles.add_profile", limit * FORM_MAX),
    }


def limit_for_sender(scope: Any, size: int) -> int:
    """How much may come of who sends this request. Raises OpenAIError where `size` bytes are too many."""
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    permission, imported = "", limit
    with suppress(KeyError, Resolver404):
        permission, imported = _imports()[resolve(scope["path"]).view_name]
    if size > imported:
        raise TooLarge(imported)
    sender = _sender(ASGIRequest(scope, BytesIO()))
    if not sender.is_active:
        raise UnknownSender
    if permission and sender.has_perm(permission):
        return imported
    if size > limit:
        raise TooLarge(limit, may_be_larger=True)
    return limit


def _sender(request: Any) -> Any:
    """Whose key or session it is; all that the view checks, it checks later."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        key = APIKey.objects.find(given.strip())
        return AnonymousUser() if key is None or key.is_expired else key.user
    sessions = import_module(settings.SESSION_ENGINE)
    request.session = sessions.SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    return get_user(request)


# --- the way to Django ---


def limits_bodies(application: ASGI) -> ASGI:
    """`application`, which no body beyond the limit reaches."""

    async def limited(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        body = Body(scope, receive, send)
        await application(scope, body.receive, body.send)
        await body.end()

    return limited


class Body:
    """One request's body on its way, and the answer to it."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._declared = max((int(value) for name, value in scope["headers"] if name == b"content-length"), default=0)
        self._received, self._waited_s = 0, 0.0
        self._limit: int = min(UNKNOWN_MAX, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        self._is_whole = self._is_open = False

    async def receive(self) -> Any:
        if REFUSAL in self._scope:  # Django waits for the client to go, until its answer is sent
            return await asyncio.get_running_loop().create_future()
        if self._is_whole:
            return await self._receive()
        try:
            await self._check(self._declared)  # before anything is received: no client is told to go ahead
            message = await self._next()
            self._received += len(message.get("body", b""))
            await self._check(self._received)
        except Exception as error:
            self._scope[REFUSAL] = as_openai_error(error)
            return {"type": "http.request", "body": b"", "more_body": False}
        if not message.get("more_body"):
            self._is_whole = True
            self._tell_length()
        return message

    async def _check(self, size: int) -> None:
        """Raises OpenAIError where so much may not come."""
        if size > self._limit:
            self._limit = await in_database(limit_for_sender, self._scope, size)

    async def _next(self) -> Any:
        """What comes next. Raises TooSlow where the client lets us wait too long for all of it."""
        loop = asyncio.get_running_loop()
        began, patience_s = loop.time(), settings.REQUEST_READ_S + self._received / LEAST_RATE - self._waited_s
        try:
            async with asyncio.timeout(patience_s):
                return await self._receive()
        except TimeoutError:
            raise TooSlow(self._received) from None
        finally:
            self._waited_s += loop.time() - began

    def _tell_length(self) -> None:
        """The length of a body that came without: Django's forms and DRF take that for an empty one."""
        if self._received and not self._declared:
            self._declared = self._received
            length = (b"content-length", str(self._received).encode())
            self._scope["headers"] = [*self._scope["headers"], length]

    async def send(self, message: Any) -> None:
        """To the client; the end of an answer that refuses waits for `end`."""
        if REFUSAL in self._scope:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"Connection", b"close")]}
            elif not message.get("more_body"):
                message, self._is_open = {**message, "more_body": True}, True
        await self._send(message)

    async def end(self) -> None:
        """Read on for a moment: who still sends when the connection is closed may lose an answer not yet read."""
        if self._is_open:
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while (await self._receive()).get("more_body"):
                        pass
            await self._send({"type": "http.response.body"})


# --- the answer ---


@sync_and_async_middleware
def refuses_bodies(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The middleware that answers what was refused."""

    def refusal(request: HttpRequest) -> HttpResponse | None:
        error = getattr(request, "scope", {}).get(REFUSAL)
        return refused(request, error) if error else None

    async def asynchronous(request: HttpRequest) -> Any:
        return refusal(request) or await get_response(request)

    def synchronous(request: HttpRequest) -> Any:
        return refusal(request) or get_response(request)

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def refused(request: HttpRequest, error: OpenAIError) -> HttpResponse:
    """`error` in the shape of the door that `request` came to."""
    response: HttpResponse = error.response()
    if request.path.startswith(("/v1/", "/admin/chat/")):
        return response
    if request.path.startswith("/api/"):
        response.content = json.dumps({"detail": error.message, "code": error.code})
        return response
    if error.status < 500:
        told = {"title": "That was refused", "told": getattr(error, "page", error.message)}
        page = render_to_string("millm/refused.html", told)
    else:
        page = render_to_string("millm/outage.html", {"told": error.message})
    response.content, response["Content-Type"] = page, "text/html; charset=utf-8"
    return response

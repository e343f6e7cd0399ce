"""X-Request-ID: a client's own comes back, else one is made, so that an answer can be found in the logs."""

import re
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

HEADER = "X-Request-ID"
USABLE = re.compile(r"[\x21-\x7e]{1,128}\Z")


@sync_and_async_middleware
def request_id(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The middleware."""

    def identify(request: HttpRequest) -> str:
        given = request.headers.get(HEADER, "")
        return given if USABLE.match(given) else uuid.uuid4().hex

    async def asynchronous(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await get_response(request)
        response[HEADER] = identify(request)
        return response

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)
        response[HEADER] = identify(request)
        return response

    return asynchronous if iscoroutinefunction(get_response) else synchronous

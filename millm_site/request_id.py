"""X-Request-ID: a client's own comes back, else one is made. The logs of web and worker carry it.

django-guid keeps it for the logs and hands it to the worker with the task; which ids are taken is ours, since its own
middleware takes UUIDs only, or anything of any length.
"""

import re
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from django_guid import set_guid

HEADER = "X-Request-ID"
USABLE = re.compile(r"[\x21-\x7e]{1,128}\Z")


@sync_and_async_middleware
def request_id(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The middleware."""

    def identify(request: HttpRequest) -> str:
        given = request.headers.get(HEADER, "")
        found = given if USABLE.match(given) else uuid.uuid4().hex
        set_guid(found)
        return found

    async def asynchronous(request: HttpRequest) -> HttpResponseBase:
        found = identify(request)
        response: HttpResponseBase = await get_response(request)
        response[HEADER] = found
        return response

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        found = identify(request)
        response: HttpResponseBase = get_response(request)
        response[HEADER] = found
        return response

    return asynchronous if iscoroutinefunction(get_response) else synchronous

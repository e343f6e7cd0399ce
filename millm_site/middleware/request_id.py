"""X-Request-ID: the client's id or a new one, in the answer and in the logs of web and worker; one log line a request.

django-guid keeps the id for the logs and passes it to the worker with the task. Its own middleware is not used: it
accepts only UUIDs, or anything of any length.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from django.utils.encoding import escape_uri_path
from django_guid import set_guid

from inference import metrics

HEADER = "X-Request-ID"
UNLOGGED = re.compile(r"/(static/|healthz|readyz|metrics|admin/dashboard/)")  # requested every few seconds
logger = logging.getLogger("millm.access")
USABLE = re.compile(r"[\x21-\x7e]{1,128}\Z")


@sync_and_async_middleware
def request_id(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The middleware."""

    def identify(request: HttpRequest) -> str:
        given = request.headers.get(HEADER, "")
        found = given if USABLE.match(given) else uuid.uuid4().hex
        set_guid(found)
        return found

    def finish(request: HttpRequest, response: HttpResponseBase, found: str, began: float) -> HttpResponseBase:
        response[HEADER] = found
        metrics.answered(request.method or "", request.path, response.status_code)
        if not UNLOGGED.match(request.path):
            path = escape_uri_path(request.path)  # escaped, since a path could forge log lines with line breaks
            fields = {"method": request.method, "path": path, "status": response.status_code}
            took_s = round(time.perf_counter() - began, 4)  # for a stream: until it begins
            logger.info("%(method)s %(path)s %(status)d", fields, extra={**fields, "took_s": took_s})
        return response

    async def asynchronous(request: HttpRequest) -> HttpResponseBase:
        found, began = identify(request), time.perf_counter()
        response: HttpResponseBase = await get_response(request)
        return finish(request, response, found, began)

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        found, began = identify(request), time.perf_counter()
        response: HttpResponseBase = get_response(request)
        return finish(request, response, found, began)

    return asynchronous if iscoroutinefunction(get_response) else synchronous

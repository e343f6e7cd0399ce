"""Refusals by middleware: an OpenAIError in the shape of the API or page that the request came to."""

import json
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.decorators import sync_and_async_middleware

from inference.openai.errors import OpenAIError


def refusing(find: Callable[[HttpRequest], OpenAIError | None]) -> Callable[[Any], Any]:
    """A middleware that answers a request with the error that `find` returns, and passes it on if that is None."""

    @sync_and_async_middleware
    def middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
        def refusal(request: HttpRequest) -> HttpResponse | None:
            error = find(request)
            return refused(request, error) if error else None

        async def asynchronous(request: HttpRequest) -> Any:
            return refusal(request) or await get_response(request)

        def synchronous(request: HttpRequest) -> Any:
            return refusal(request) or get_response(request)

        return asynchronous if iscoroutinefunction(get_response) else synchronous

    return middleware


def refused(request: HttpRequest, error: OpenAIError) -> HttpResponse:
    """`error` as the answer to `request`: OpenAI's JSON, the JSON of REST, or a page."""
    response: HttpResponse = error.response()
    if request.path.startswith(("/v1/", "/admin/chat/")):
        return response
    if request.path.startswith("/api/"):
        response.content = json.dumps({"detail": error.message, "code": error.code})
        return response
    if error.status < 500:
        context = {"title": "The request was refused", "message": getattr(error, "page", error.message)}
        page = render_to_string("millm/refused.html", context)
    else:
        page = render_to_string("millm/outage.html", {"told": error.message})
    response.content, response["Content-Type"] = page, "text/html; charset=utf-8"
    return response

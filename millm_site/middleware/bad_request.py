"""What no view could answer: a form whose fields are too large, an address that no database could look for."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware
from django.views.defaults import bad_request as django_bad_request

from inference.openai.errors import OpenAIError
from millm_site.middleware.body_limit import TooLarge, refused


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    if isinstance(exception, RequestDataTooBig):
        return refused(request, TooLarge(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))
    return django_bad_request(request, exception)


@sync_and_async_middleware
def refuses_nul(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """The middleware that refuses NUL in an address: PostgreSQL's texts cannot have it, and no id or name does."""

    def refusal(request: HttpRequest) -> HttpResponse | None:
        if "\0" not in request.path and "%00" not in request.META["QUERY_STRING"]:
            return None
        told = "The address has the character NUL (%00), which no id, name or search has: leave it out."
        return refused(request, OpenAIError(400, told, code="invalid_request"))

    async def asynchronous(request: HttpRequest) -> Any:
        return refusal(request) or await get_response(request)

    def synchronous(request: HttpRequest) -> Any:
        return refusal(request) or get_response(request)

    return asynchronous if iscoroutinefunction(get_response) else synchronous

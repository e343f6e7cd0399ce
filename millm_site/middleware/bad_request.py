"""Answers to requests that no view can answer: a form whose fields are too large, and NUL in an address."""

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.views import defaults

from inference.openai.errors import OpenAIError
from millm_site.middleware.refusals import refused, refusing
from millm_site.middleware.sender_limit import TooLarge


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400; 413 for multipart requests whose fields beside the files exceed MAX_BODY_BYTES."""
    if isinstance(exception, RequestDataTooBig):
        return refused(request, TooLarge(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))
    return defaults.bad_request(request, exception)


@refusing
def refuses_nul(request: HttpRequest) -> OpenAIError | None:
    """The middleware that refuses NUL in a URL. PostgreSQL's texts cannot hold NUL, so views need no check."""
    if "\0" not in request.path and "%00" not in request.META["QUERY_STRING"]:
        return None
    message = "The URL contains the character NUL (%00), which no id, name or search has: leave it out."
    return OpenAIError(400, message, code="invalid_request")

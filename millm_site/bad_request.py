"""The page for a form whose fields are too large where larger files are taken: no view can say so beside the field."""

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.views.defaults import bad_request as django_bad_request

from millm_site.body_limit import TooLarge, refused


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    if isinstance(exception, RequestDataTooBig):
        return refused(request, TooLarge(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))
    return django_bad_request(request, exception)

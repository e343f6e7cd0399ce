"""The page for a form that is too large: it is refused before any view can say so beside the field."""

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.views.defaults import bad_request as django_bad_request


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    if not isinstance(exception, RequestDataTooBig):
        return django_bad_request(request, exception)
    limit = filesizeformat(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
    return HttpResponse(render_to_string("millm/too_large.html", {"limit": limit}), status=413)

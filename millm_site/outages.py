"""503, and what is missing, where PostgreSQL or Redis do not answer."""

import logging

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError

logger = logging.getLogger(__name__)
RETRY_AFTER_S = "5"


def missing(error: BaseException) -> str | None:
    """What is away, by the error that this raised; None where it is another error."""
    if isinstance(error, OperationalError | InterfaceError):
        return "PostgreSQL"
    if isinstance(error, RedisError | BrokerError):
        return "Redis"
    return None


class OutageMiddleware(MiddlewareMixin):
    """Answers what a view could not, since a service is away: as JSON under /api, else as a page."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        what = missing(error)
        if what is None:
            return None
        logger.error("%s: %s", what, error)
        told = f"{what} does not answer: try again in a moment."
        headers = {"Retry-After": RETRY_AFTER_S}
        if request.path.startswith("/api/"):
            body = {"detail": told, "code": "service_unavailable", "missing": what}
            return JsonResponse(body, status=503, headers=headers)
        page = render_to_string("millm/outage.html", {"told": told})
        return HttpResponse(page, status=503, headers=headers)

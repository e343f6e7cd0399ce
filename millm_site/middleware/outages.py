"""Answers 503, with the name of the service, where PostgreSQL or Redis does not answer."""

import logging

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from inference.outages import outage_of

logger = logging.getLogger(__name__)
RETRY_AFTER_S = "5"


class OutageMiddleware(MiddlewareMixin):
    """Turns the outage that a view met into a response: JSON under /api, else a page."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        outage = outage_of(error)
        if outage is None:
            return None
        logger.error("%s: %s", outage.service, error)
        headers = {"Retry-After": RETRY_AFTER_S}
        if request.path.startswith("/api/"):
            body = {"detail": outage.message, "code": outage.code, "missing": outage.service}
            return JsonResponse(body, status=503, headers=headers)
        page = render_to_string("millm/outage.html", {"told": outage.message})
        return HttpResponse(page, status=503, headers=headers)

"""503, and what is missing, where PostgreSQL or Redis do not answer."""

import logging

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from inference.outages import outage_of

logger = logging.getLogger(__name__)
RETRY_AFTER_S = "5"


class OutageMiddleware(MiddlewareMixin):
    """Answers what a view could not, since a service is away: as JSON under /api, else as a page."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        outage = outage_of(error)
        if outage is None:
            return None
        logger.error("%s: %s", outage.service, error)
        headers = {"Retry-After": RETRY_AFTER_S}
        if request.path.startswith("/api/"):
            body = {"detail": outage.told, "code": outage.code, "missing": outage.service}
            return JsonResponse(body, status=503, headers=headers)
        page = render_to_string("millm/outage.html", {"told": outage.told})
        return HttpResponse(page, status=503, headers=headers)

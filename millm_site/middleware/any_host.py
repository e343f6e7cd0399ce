"""CommonMiddleware that accepts any host for probes: they are requested by the address of a pod or a container."""

from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware import common

PATHS = ("/healthz", "/readyz", "/metrics")


class CommonMiddleware(common.CommonMiddleware):
    """Refuses hosts that are not in ALLOWED_HOSTS, except on PATHS, whose answers do not depend on the host."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path in PATHS else super().process_request(request)

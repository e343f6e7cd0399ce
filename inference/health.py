"""The probes of a web: /healthz says that it is alive, /readyz that it can answer."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection
from django.http import HttpRequest, JsonResponse

from inference.broker import connections, inbox
from inference.broker.heartbeats import is_served
from inference.models import LanguageModel
from inference.outages import outage_of

# Anybody may ask a probe: errors with addresses and paths go to the log alone.
logger = logging.getLogger(__name__)

PROBE_S = 2.0
"""A service that is silent for this long counts as unavailable: the probe must answer in time."""
_threads = ThreadPoolExecutor(16, thread_name_prefix="probe")  # some may still wait for a silent service
NAMES = ("database", "broker", "worker")
UNKNOWN = "unknown, since another service is unavailable"


def healthz(request: HttpRequest) -> JsonResponse:
    """200 as soon as the web is up."""
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> JsonResponse:
    """200 when a chat request would be answered, else 503 with the services that are missing.

    `?exclude=worker` leaves a check out: a web without a worker still has its admin, where a user loads a model.
    """
    excluded = request.GET.getlist("exclude")
    if unknown := [name for name in excluded if name not in NAMES]:
        return JsonResponse({"status": f"unknown check {unknown[0]!r}: expected {', '.join(NAMES)}"}, status=400)
    found = dict(zip(NAMES, await asyncio.gather(_database(), _broker()), strict=False))
    missing = {name: problem for name, problem in found.items() if problem and name not in excluded}
    if "worker" not in excluded:
        problem = UNKNOWN if any(found.values()) else await _worker()
        missing |= {"worker": problem} if problem else {}
    if missing:
        return JsonResponse({"status": "not ready", "missing": missing}, status=503)
    return JsonResponse({"status": "ready"})


async def _database() -> str | None:
    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    return await _problem(ask, "PostgreSQL does not answer")


async def _broker() -> str | None:
    def ask() -> None:
        connections.connection.ping()

    disconnected = None if inbox.is_connected() else "this web hears nothing of its requests"
    return await _problem(ask, "Redis does not answer") or disconnected


async def _worker() -> str | None:
    def ask() -> str | None:
        model = LanguageModel.objects.current()
        if model is None:
            return "no language model is current: register one"
        return None if is_served(model.name) else f"no worker has {model} loaded: it is {model.status}"

    return await _problem(ask, UNKNOWN)


async def _problem(ask: Callable[[], str | None], unavailable: str) -> str | None:
    """The problem that `ask` finds; `unavailable` where the service that it asks fails or is silent for PROBE_S."""

    def call() -> str | None:
        try:
            return ask()
        finally:
            connection.close()

    try:
        async with asyncio.timeout(PROBE_S):
            return await asyncio.get_running_loop().run_in_executor(_threads, call)
    except TimeoutError:
        logger.error("%s: silent for %g s", unavailable, PROBE_S)
    except Exception as error:
        if outage_of(error) is None:
            raise
        logger.error("%s: %s", unavailable, error)
    return unavailable

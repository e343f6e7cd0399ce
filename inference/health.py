"""The probes: alive, and ready to answer."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, JsonResponse
from redis import RedisError

from inference.broker import connections, inbox
from inference.broker.heartbeats import is_served
from inference.models import LanguageModel

# Anybody may ask: the addresses and paths in what went wrong are for the log.
logger = logging.getLogger(__name__)

PROBE_S = 2.0
"""What is silent for so long does not answer: who asks must be told in time."""
_threads = ThreadPoolExecutor(16, thread_name_prefix="probe")  # a few may still wait for what is silent
NAMES = ("database", "broker", "worker")


def healthz(request: HttpRequest) -> JsonResponse:
    """200 as soon as the web is up."""
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> JsonResponse:
    """200 when a chat request would be answered, else 503 with what is missing.

    `?exclude=worker` asks for the rest: a web without a worker still has its admin, where a model is loaded.
    """
    excluded = request.GET.getlist("exclude")
    if unknown := [name for name in excluded if name not in NAMES]:
        return JsonResponse({"status": f"unknown check {unknown[0]!r}: expected {', '.join(NAMES)}"}, status=400)
    found = dict(zip(NAMES, await asyncio.gather(_database(), _broker()), strict=False))
    missing = {name: problem for name, problem in found.items() if problem and name not in excluded}
    if "worker" not in excluded:
        problem = "unknown, since another part is away" if any(found.values()) else await _worker()
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

    deaf = None if inbox.hears() else "this web hears nothing of its requests"
    return await _problem(ask, "Redis does not answer") or deaf


async def _worker() -> str | None:
    def ask() -> str | None:
        model = LanguageModel.objects.current()
        if model is None:
            return "no language model is current: register one"
        return None if is_served(model.name) else f"no worker has {model} loaded: it is {model.status}"

    return await _problem(ask, "unknown, since another part is away")


async def _problem(ask: Callable[[], str | None], told: str) -> str | None:
    """What `ask` finds, or `told` where what it asks does not answer in time."""

    def call() -> str | None:
        try:
            return ask()
        finally:
            connection.close()

    try:
        async with asyncio.timeout(PROBE_S):
            return await asyncio.get_running_loop().run_in_executor(_threads, call)
    except (OperationalError, InterfaceError, RedisError, TimeoutError) as error:
        logger.error("%s: %s", told, error or f"silent for {PROBE_S:g} s")
        return told

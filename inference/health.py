"""The probes: alive, and ready to answer."""

import logging

import redis
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from inference import stream
from inference.models import LanguageModel
from inference.queueing import is_served

# Anybody may ask: the addresses and paths in what went wrong are for the log.
logger = logging.getLogger(__name__)


def healthz(request: HttpRequest) -> JsonResponse:
    """200 as soon as the web is up."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when a chat request would be answered, else 503 with what is missing.

    `?exclude=worker` asks for the rest: a web without a worker still has its admin, where a model is loaded.
    """
    checks = {"database": _database, "broker": _broker, "worker": _worker}
    excluded = request.GET.getlist("exclude")
    if unknown := [name for name in excluded if name not in checks]:
        return JsonResponse({"status": f"unknown check {unknown[0]!r}: expected {', '.join(checks)}"}, status=400)
    missing = {name: problem for name, check in checks.items() if name not in excluded and (problem := check())}
    if missing:
        return JsonResponse({"status": "not ready", "missing": missing}, status=503)
    return JsonResponse({"status": "ready"})


def _database() -> str | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.error("PostgreSQL: %s", error)
        return "PostgreSQL does not answer"
    return None


def _broker() -> str | None:
    try:
        stream.connection.ping()
    except redis.RedisError as error:
        logger.error("Redis: %s", error)
        return "Redis does not answer"
    return None


def _worker() -> str | None:
    try:
        model = LanguageModel.objects.current()
        if model is None:
            return "no language model is current: register one"
        if not is_served(model.name):
            return f"no worker has {model} loaded: it is {model.status}"
    except (DatabaseError, redis.RedisError):
        return "unknown, since another part is away"
    return None

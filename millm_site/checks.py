"""System checks of common mistakes. Checks that need the services run with `manage.py check --deploy`."""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import DatabaseError, connection

from inference.broker import connections, heartbeats
from inference.models import LanguageModel
from millm_site import addresses
from steering.errors import Refused
from steering.models import SAE

PREFIXES = ("INFERENCE_", "STEERING_", "MILLM_", "LABELS_")
OTHER_NAMES = {addresses.MARK, "MILLM_MODEL_DIRS"}  # variables that settings.py has under another name
TEST_NAMES = {"MILLM_TEST_HOME"}


@register("millm")
def known_variables(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn of misspelt settings, which would be ignored silently."""
    known = {name for name in dir(settings) if name.startswith(PREFIXES)} | OTHER_NAMES
    known |= {f"{name}_FILE" for name in known} | TEST_NAMES
    unknown = sorted(name for name in os.environ if name.startswith(PREFIXES) and name not in known)
    return [Warning(f"{name} is not a setting of miLLM.", hint=_hint(name, known), id="millm.W001") for name in unknown]


@register("millm")
def trusted_proxy(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn of HTTPS without a trusted proxy: every request would count as plain HTTP and be redirected forever."""
    if not settings.HTTPS or settings.FORWARDED_ALLOW_IPS:
        return []
    hint = "Set FORWARDED_ALLOW_IPS to the addresses of the proxy that ends TLS: see docs/operating.md."
    return [Warning("HTTPS is on, but no proxy is trusted: every page redirects forever.", hint=hint, id="millm.W008")]


def _hint(name: str, known: set[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else "docs/settings.md lists all."


@register("millm", deploy=True)
def services(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check everything that a request needs to be answered."""
    found = [*_embedded(), *_metrics()]
    for needed in (_database, _broker):
        if problems := list(needed()):
            return found + problems
    return found + list(_served())


def _embedded() -> Iterator[CheckMessage]:
    if settings.EMBEDDED:
        used = " and ".join(addresses.SERVERS[name] for name in settings.EMBEDDED)
        hint = f"For one machine and one user only. Set {' and '.join(settings.EMBEDDED)}: see docs/operating.md."
        yield Warning(f"Embedded servers are used: {used}.", hint=hint, id="millm.W002")


def _metrics() -> Iterator[CheckMessage]:
    if not settings.METRICS_TOKEN and "DATABASE_URL" not in settings.EMBEDDED:
        hint = "Set METRICS_TOKEN, and have Prometheus send it; or block /metrics at the proxy."
        yield Warning("Anybody can read /metrics, which names profiles and models.", hint=hint, id="millm.W007")


def _database() -> Iterator[CheckMessage]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        hint = "Start PostgreSQL, or correct DATABASE_URL."
        yield Error(f"PostgreSQL does not answer: {error}", hint=hint, id="millm.E001")


def _broker() -> Iterator[CheckMessage]:
    try:
        connections.connection.ping()
    except redis.RedisError as error:
        yield Error(f"Redis does not answer: {error}", hint="Start Redis, or correct REDIS_URL.", id="millm.E002")


def _served() -> Iterator[CheckMessage]:
    try:
        model, saes = LanguageModel.objects.current(), SAE.objects.all_attached()
    except DatabaseError as error:
        yield Error(f"The tables cannot be read: {error}", hint="Run `manage.py migrate`.", id="millm.E003")
        return
    workers = heartbeats.live_workers()
    if not workers:
        hint = "Start one: `manage.py run worker`, or `manage.py run` for everything."
        yield Warning("No worker runs.", hint=hint, id="millm.W003")
    if model is None:
        hint = "Register one and load it: the admin, `manage.py add_model` and `load_model`."
        yield Warning("No model is current.", hint=hint, id="millm.W004")
        return
    if workers and not any(worker.serves(model.name) for worker in workers):
        reason = f" ({model.error.removesuffix('.')})" if model.error else ""
        hint = "It may still be loading; see the worker's log."
        yield Warning(f"No worker has loaded {model}: it is {model.status}{reason}.", hint=hint, id="millm.W005")
    for sae in saes:
        try:
            model.check_fits(sae)
        except Refused as error:
            hint = "Detach it, and attach one that was trained on this model."
            yield Warning(f"The attached SAE cannot steer: {error}", hint=hint, id="millm.W006")

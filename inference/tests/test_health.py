"""The probes when something is away, silent or deaf: who asks is told in time."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory
from redis import ConnectionError as RedisAway

from inference import health
from inference.broker import connections, heartbeats, inbox
from inference.models import LanguageModel

pytestmark = pytest.mark.django_db


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """What never answers while the test runs."""
    over = threading.Event()
    monkeypatch.setattr(health, "PROBE_S", 0.2)
    yield lambda *args: over.wait()
    over.set()


@pytest.fixture
def nobody_asks_for_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose row is in PostgreSQL."""

    def asked(_self: Any) -> None:
        raise AssertionError("PostgreSQL is asked again")

    monkeypatch.setattr(type(LanguageModel.objects), "current", asked)


def missing(path: str = "/readyz") -> dict[str, str]:
    answer = Client().get(path)
    assert answer.status_code == 503
    told: dict[str, str] = answer.json()["missing"]
    return told


@pytest.mark.usefixtures("nobody_asks_for_the_model")
def test_a_silent_database_is_waited_for_once_and_told_in_time(monkeypatch: pytest.MonkeyPatch, silence: Any) -> None:
    monkeypatch.setattr(health, "connection", SimpleNamespace(cursor=silence, close=lambda: None))
    began = time.monotonic()
    told = missing()
    assert time.monotonic() - began < 5
    assert told == {"database": "PostgreSQL does not answer", "worker": "unknown, since another service is unavailable"}


@pytest.mark.usefixtures("nobody_asks_for_the_model")
def test_a_database_that_is_away_is_not_asked_for_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError("away")

    monkeypatch.setattr(health, "connection", SimpleNamespace(cursor=refuse, close=lambda: None))
    assert missing().keys() == {"database", "worker"}
    assert missing("/readyz?exclude=worker").keys() == {"database"}


@pytest.mark.usefixtures("nobody_asks_for_the_model")
def test_a_silent_redis_is_told_in_time(monkeypatch: pytest.MonkeyPatch, silence: Any) -> None:
    monkeypatch.setattr(connections, "connection", SimpleNamespace(ping=silence))
    began = time.monotonic()
    assert missing()["broker"] == "Redis does not answer"
    assert time.monotonic() - began < 5


def test_a_web_that_hears_nothing_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason: Redis answers, and no answer of a worker would arrive."""

    async def broken() -> None:
        raise RedisAway("for the inbox only")

    async def told() -> tuple[int, int]:
        request = RequestFactory().get("/readyz?exclude=worker")
        before = (await health.readyz(request)).status_code
        inbox.inbox()
        async with asyncio.timeout(20):
            while (answer := await health.readyz(request)).status_code == 200:
                await asyncio.sleep(0.01)
        assert b"this web hears nothing of its requests" in answer.content
        return before, answer.status_code

    monkeypatch.setattr(heartbeats, "async_live_workers", broken)
    monkeypatch.setattr(inbox, "BROKER_AWAY_S", 0.3)
    assert asyncio.run(told()) == (200, 503)


def test_an_unknown_check_is_no_reason_to_leave_one_out() -> None:
    answer = Client().get("/readyz?exclude=workers")
    assert answer.status_code == 400
    assert "unknown check 'workers'" in answer.json()["status"]

"""Only a service that is away is told as an outage: a wrong query is a fault of ours, logged and told as one."""

import asyncio
import logging
from typing import Any

import psycopg
import psycopg_pool
import pytest
import redis
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from django.test import RequestFactory
from kombu.exceptions import OperationalError as BrokerError

from inference import health
from inference.openai.endpoint import as_openai_error
from inference.outages import outage_of
from inference.worker import process
from inference.worker.job import failure_of
from millm_site.middleware.outages import OutageMiddleware

OURS = [
    DataError("integer out of range"),
    IntegrityError("duplicate key"),
    ProgrammingError("relation does not exist"),
    DatabaseError("?"),
    ValueError("A string literal cannot contain NUL"),
]


def from_server(state: type[psycopg.Error]) -> OperationalError:
    error = OperationalError("as Django tells it")
    error.__cause__ = state("as PostgreSQL tells it")
    return error


AWAY = [
    (OperationalError("connection refused"), "database_unavailable"),
    (InterfaceError("connection already closed"), "database_unavailable"),
    (from_server(psycopg.errors.AdminShutdown), "database_unavailable"),
    (from_server(psycopg.errors.TooManyConnections), "database_unavailable"),
    (from_server(psycopg.errors.DiskFull), "database_full"),
    (from_server(psycopg_pool.PoolTimeout), "database_unavailable"),
    (from_server(psycopg.errors.DeadlockDetected), "database_busy"),
    (from_server(psycopg.errors.QueryCanceled), "statement_timeout"),
    (redis.ConnectionError(), "broker_unavailable"),
    (BrokerError(), "broker_unavailable"),
]


@pytest.mark.parametrize("error", [*OURS, from_server(psycopg.errors.StatementTooComplex)])
def test_a_fault_of_ours_is_a_500_with_a_log(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert outage_of(error) is None
    told = as_openai_error(error)
    assert (told.status, told.code) == (500, "internal_error")
    assert caplog.records[-1].exc_info
    caplog.clear()
    assert failure_of("request", error)[0] == "internal_error"
    assert caplog.records[-1].exc_info
    request = RequestFactory().get("/api/profiles")
    assert OutageMiddleware(lambda request: None).process_exception(request, error) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("error", "code"), AWAY)
def test_an_outage_is_a_503_and_says_what_is_away(error: Exception, code: str) -> None:
    told = as_openai_error(error)
    assert (told.status, told.code) == (503, code)
    answer: Any = OutageMiddleware(lambda request: None).process_exception(  # type: ignore[arg-type]
        RequestFactory().get("/api/profiles"), error
    )
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert failure_of("request", error)[0] == code


@pytest.mark.django_db(transaction=True)
def test_a_probe_does_not_call_a_fault_of_ours_an_outage() -> None:
    def ask() -> None:
        raise DataError("integer out of range")

    with pytest.raises(DataError):
        asyncio.run(health._problem(ask, "PostgreSQL does not answer"))


@pytest.mark.parametrize(("error", "gives_up"), [(OURS[0], True), (AWAY[0][0], False), (AWAY[-1][0], False)])
def test_a_worker_goes_on_in_an_outage_only(
    monkeypatch: pytest.MonkeyPatch, error: Exception, gives_up: bool, caplog: pytest.LogCaptureFixture
) -> None:
    given_up: list[str] = []
    monkeypatch.setattr(process, "_give_up", given_up.append)
    made = process.Worker.__new__(process.Worker)
    rounds = iter([False, True])
    made._stopping = type("Event", (), {"is_set": lambda self: next(rounds), "wait": lambda self, s: None})()

    def fail() -> None:
        raise error

    monkeypatch.setattr(made, "_converge", fail)
    with caplog.at_level(logging.WARNING):
        made._follow()
    assert bool(given_up) == gives_up
    assert ("cannot be followed" in caplog.text) != gives_up

"""`manage.py check` finds what is commonly wrong, and says what to do."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.db.utils import ConnectionHandler

from inference.broker import connections
from inference.broker.heartbeats import Heartbeat, write_heartbeat
from inference.demo.register import register_demo
from inference.models import LanguageModel
from inference.tests.conftest import redis_url
from millm_site import addresses, checks
from millm_site.tests.test_settings import OWN, manage
from steering.models import SAE

pytestmark = pytest.mark.django_db


def found() -> dict[str, str]:
    messages = run_checks(tags=["millm"], include_deployment_checks=True)
    return {str(message.id): f"{message.msg} {message.hint}" for message in messages}


@pytest.fixture
def served(settings: Any, own_redis: "redis.Redis") -> LanguageModel:
    """All is well: the demo, and a worker that has it loaded."""
    settings.EMBEDDED, settings.METRICS_TOKEN = [], "s3cret"
    register_demo()
    model = LanguageModel.objects.get(name="demo")
    model.make_current()
    beat("demo", "ready")
    return model


def beat(model: str, status: str) -> None:
    write_heartbeat(Heartbeat("w", model, status, "cpu", 0, 0, 16, 0))


def test_nothing_is_found_where_all_is_well(served: LanguageModel) -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            [],
            "Embedded servers are used: PostgreSQL and Redis. For one machine and one user only. Set DATABASE_URL and",
        ),
        (["DATABASE_URL"], "Embedded servers are used: Redis. For one machine and one user only. Set REDIS_URL"),
        (["REDIS_URL"], "Embedded servers are used: PostgreSQL. For one machine and one user only. Set DATABASE_URL"),
    ],
)
def test_each_embedded_service_is_told(
    served: LanguageModel, settings: Any, monkeypatch: pytest.MonkeyPatch, given: list[str], told: str
) -> None:
    for name in (*addresses.SERVERS, addresses.MARK):
        monkeypatch.delenv(name)
    for name in given:
        monkeypatch.setenv(name, OWN[name])
    settings.EMBEDDED = addresses.embedded_services()
    assert found()["millm.W002"].startswith(told)


def test_metrics_that_are_open_are_told(served: LanguageModel, settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    assert set(found()) == {"millm.W007"}


def test_https_without_a_proxy_that_is_believed_is_told(served: LanguageModel, settings: Any) -> None:
    settings.HTTPS = True
    assert set(found()) == {"millm.W008"}
    settings.FORWARDED_ALLOW_IPS = ["192.0.2.1"]
    assert found() == {}


def test_a_database_that_is_away_is_told(
    served: LanguageModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    away = ConnectionHandler(
        {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": str(tmp_path)}}
    )
    monkeypatch.setattr(checks, "connection", away["default"])
    assert set(found()) == {"millm.E001"}
    assert "Start PostgreSQL, or correct DATABASE_URL" in found()["millm.E001"]


def test_a_database_that_is_not_migrated_is_told(served: LanguageModel) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE steering_languagemodel RENAME TO of_another_version")
    told = found()
    assert set(told) == {"millm.E003"}
    assert told["millm.E003"].endswith("Run `manage.py migrate`.")


def test_a_broker_that_is_away_is_told(served: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("unix:///nowhere/redis.sock")
    monkeypatch.setattr(connections, "connection", away)
    assert "Start Redis, or correct REDIS_URL" in found()["millm.E002"]
    away.close()


def test_no_worker_is_told(served: LanguageModel, own_redis: "redis.Redis") -> None:
    own_redis.flushdb()
    assert set(found()) == {"millm.W003"}


def test_no_model_is_told(served: LanguageModel) -> None:
    served.unload()
    assert set(found()) == {"millm.W004"}


def test_a_worker_without_the_model_is_told(served: LanguageModel) -> None:
    beat("", "loading")
    assert "it is" in found()["millm.W005"]


def test_an_sae_that_does_not_fit_is_told(served: LanguageModel) -> None:
    SAE.objects.filter(is_attached=True).update(d_in=7)
    assert "d_in 7" in found()["millm.W006"]


def test_a_misspelt_variable_is_told(served: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_BATCHSIZE", "8")
    told = found()["millm.W001"]
    assert told == "INFERENCE_BATCHSIZE is not a setting of miLLM. Did you mean INFERENCE_BATCH_SIZE?"


def deployed(**env: str) -> set[str]:
    """What `check --deploy` finds in a process that is set up as docs/operating.md says; nothing is served yet."""
    database = urlsplit(settings.DATABASE_URL)._replace(path=f"/{connection.settings_dict['NAME']}")
    own = {
        "DATABASE_URL": urlunsplit(database),
        "REDIS_URL": redis_url(15),  # where no worker of these tests is
        "HTTPS": "true",
        "FORWARDED_ALLOW_IPS": "192.0.2.1",
        "SECRET_KEY": "0123456789" * 8,
        "METRICS_TOKEN": "s3cret",
    }
    done = manage("check", "--deploy", "--fail-level", "ERROR", **own | {addresses.MARK: ""} | env)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"^\S+: \((\w+\.[A-Z]\d+)\)", done.stderr, re.MULTILINE))


def test_a_deployment_is_clean() -> None:
    assert deployed() == {"millm.W003", "millm.W004"}, "no worker, no model"


def test_a_deployment_whose_machines_would_have_a_redis_each_is_told(tmp_path: Path) -> None:
    assert deployed(REDIS_URL="", MILLM_HOME=str(tmp_path)) == {"millm.W002", "millm.W003", "millm.W004"}


def test_this_very_run_has_no_errors() -> None:
    call_command("check", verbosity=0)

"""`manage.py check` finds what is commonly wrong, and says what to do."""

import os
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command

from inference import stream
from inference.demo.register import register_demo
from inference.models import LanguageModel
from inference.stream import Heartbeat, write_heartbeat
from millm_site.tests.test_settings import manage
from steering.models import SAE

pytestmark = pytest.mark.django_db


def found() -> dict[str, str]:
    messages = run_checks(tags=["millm"], include_deployment_checks=True)
    return {str(message.id): f"{message.msg} {message.hint}" for message in messages}


@pytest.fixture
def served(settings: Any) -> LanguageModel:
    """All is well: the demo, and a worker that has it loaded."""
    settings.EMBEDDED, settings.METRICS_TOKEN = False, "s3cret"
    stream.connection.flushdb()
    register_demo()
    model = LanguageModel.objects.get(name="demo")
    model.make_current()
    beat("demo", "ready")
    return model


def beat(model: str, status: str) -> None:
    write_heartbeat(Heartbeat("w", model, status, "cpu", 0, 0, 16, 0))


def test_nothing_is_found_where_all_is_well(served: LanguageModel) -> None:
    assert found() == {}


def test_embedded_services_are_told(served: LanguageModel, settings: Any) -> None:
    settings.EMBEDDED = True
    assert "Set DATABASE_URL and REDIS_URL" in found()["millm.W002"]


def test_metrics_that_are_open_are_told(served: LanguageModel, settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    assert set(found()) == {"millm.W007"}


def test_a_broker_that_is_away_is_told(served: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("unix:///nowhere/redis.sock")
    monkeypatch.setattr(stream, "connection", away)
    assert "Start Redis, or correct REDIS_URL" in found()["millm.E002"]
    away.close()


def test_no_worker_is_told(served: LanguageModel) -> None:
    stream.connection.flushdb()
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
    assert told == "INFERENCE_BATCHSIZE is no setting of miLLM. Did you mean INFERENCE_BATCH_SIZE?"


def test_the_settings_of_a_deployment_are_clean() -> None:
    done = manage(
        "check", "--deploy", "--tag", "security", "--fail-level", "WARNING", HTTPS="true", SECRET_KEY="0123456789" * 8
    )
    assert done.returncode == 0, done.stderr


def test_this_very_run_has_no_errors() -> None:
    assert os.environ["MILLM_EMBEDDED"] == "1"
    assert settings.EMBEDDED
    call_command("check", verbosity=0)

"""GET /v1/models: bounded, by names alone, the active profile first, then the last changed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from inference.broker import heartbeats
from inference.broker.heartbeats import Heartbeat
from inference.models import LanguageModel
from profiles.models import Profile
from steering.models import SAE


@pytest.fixture
def client(demo: LanguageModel, api_key: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(heartbeats, "live_workers", list)
    return Client(headers={"Authorization": f"Bearer {api_key}"})


@pytest.fixture
def twelve(client: Client) -> list[str]:
    """Names of the profiles that fit, of which `p0` was changed last, `p1` before it, and so on."""
    Profile.objects.all().delete()
    sae, now = SAE.objects.get(), datetime.now(UTC)
    place = {"model_id": "demo", "sae_id": sae.id, "layer": sae.layer}
    for i in range(12):
        Profile.objects.create(name=f"p{i}", strengths={i: 1.0}, **place)
        Profile.objects.filter(name=f"p{i}").update(updated_at=now - timedelta(minutes=i))
    return [f"p{i}" for i in range(12)]


def listed(client: Client) -> tuple[list[str], bool]:
    answer = client.get("/v1/models")
    assert answer.status_code == 200, answer.content
    body = answer.json()
    return [model["id"] for model in body["data"]], body["has_more"]


def test_those_changed_last_are_listed_within_the_bound(client: Client, twelve: list[str], settings: Any) -> None:
    settings.INFERENCE_MAX_LISTED_PROFILES = 12
    assert listed(client) == (["demo", *[f"demo:{name}" for name in twelve]], False)
    settings.INFERENCE_MAX_LISTED_PROFILES = 5
    assert listed(client) == (["demo", *[f"demo:{name}" for name in twelve[:5]]], True)


def test_the_active_profile_is_listed_first(client: Client, twelve: list[str], settings: Any) -> None:
    settings.INFERENCE_MAX_LISTED_PROFILES = 3
    Profile.objects.get(name="p9").activate()
    assert listed(client) == (["demo", "demo:p9", "demo:p0", "demo:p1"], True)


def test_what_is_beyond_the_bound_is_found_by_its_id(client: Client, twelve: list[str], settings: Any) -> None:
    settings.INFERENCE_MAX_LISTED_PROFILES = 1
    assert client.get("/v1/models/demo:p11").json()["id"] == "demo:p11"


def test_other_served_models_follow_beyond_the_bound(
    client: Client, twelve: list[str], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.INFERENCE_MAX_LISTED_PROFILES = 1
    LanguageModel.objects.register(LanguageModel.objects.get().source, name="other", anywhere=True)
    beats = [Heartbeat("w", "other", "ready", "cpu", 0, 0, 1, 0), Heartbeat("v", "demo", "ready", "cpu", 0, 0, 1, 0)]
    monkeypatch.setattr(heartbeats, "live_workers", lambda: beats)
    assert listed(client) == (["demo", "demo:p0", "other"], True)


def test_a_model_whose_load_failed_is_not_listed_and_its_entry_has_the_reason(
    client: Client, twelve: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = LanguageModel.objects.get()
    failed = Heartbeat("w", "", "error", "cpu", 0, 0, 1, 0, load=demo.load_id, error="no memory")
    monkeypatch.setattr(heartbeats, "live_workers", lambda: [failed])
    assert listed(client) == ([], False)
    for name in ("demo", "demo:p0"):
        answer = client.get(f"/v1/models/{name}")
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == "demo failed to load: no memory."
    ready = replace(failed, model="demo", status="ready", error="")
    monkeypatch.setattr(heartbeats, "live_workers", lambda: [failed, ready])
    assert listed(client)[0][:2] == ["demo", "demo:p0"]
    assert client.get("/v1/models/demo").status_code == 200


def test_a_model_that_still_answers_is_listed_in_place_of_the_one_whose_load_failed(
    client: Client, twelve: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = LanguageModel.objects.register(LanguageModel.objects.get().source, name="other", anywhere=True)
    other.make_current()
    beat = Heartbeat("w", "demo", "error", "cpu", 0, 0, 1, 0, load=other.load_id, error="no memory", is_open=True)
    monkeypatch.setattr(heartbeats, "live_workers", lambda: [beat])
    assert listed(client) == (["demo"], False)
    message = client.get("/v1/models/other").json()["error"]["message"]
    assert message == "other failed to load: no memory. demo still answers requests."


def test_no_strengths_are_read(client: Client, twelve: list[str]) -> None:
    with CaptureQueriesContext(connection) as queries:
        listed(client)
    read = [query["sql"] for query in queries if 'FROM "profiles_profile"' in query["sql"]]
    assert read
    for sql in read:
        assert '"strengths"' not in sql.split(" FROM ")[0]
        assert "LIMIT" in sql or '"is_active"' in sql


def test_without_a_model_nothing_is_listed(client: Client) -> None:
    LanguageModel.objects.get().unload()
    assert json.loads(client.get("/v1/models").content) == {"object": "list", "data": [], "has_more": False}

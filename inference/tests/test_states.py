"""The state of a model's load: each worker says its own, and what is shown is made of them."""

from dataclasses import replace

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from inference.broker import connections, heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import free_port, say
from steering.errors import NothingToCancel

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_redis")]
SIZES = {"d_model": 16, "num_layers": 4, "context_length": 512}
LIST = "/admin/inference/languagemodel/"


@pytest.fixture
def model() -> LanguageModel:
    """Loaded, and served by one worker."""
    made = LanguageModel.objects.create(name="tiny", source="owner/tiny", **SIZES)
    made.load()
    say(made, "ready", 1.0, worker="first")
    return made


def now(model: LanguageModel) -> tuple[str, float | None, str]:
    model.refresh_from_db()
    return model.status, model.progress, model.error


def test_a_second_worker_that_starts_changes_nothing_of_a_model_that_is_served(
    model: LanguageModel, admin_client: Client
) -> None:
    for status in ("downloading", "loading"):
        say(model, status, worker="second")
        assert now(model) == ("ready", 1.0, "")
        page = admin_client.get(LIST).content.decode()
        assert f"{LIST}{model.pk}/cancel/" not in page
        assert f"{LIST}{model.pk}/unload/" in page
        with pytest.raises(NothingToCancel, match="tiny is ready already: nothing was cancelled"):
            model.cancel()
    assert model.is_current


def test_a_worker_that_fails_beside_one_that_serves_does_not_leave_an_error(model: LanguageModel) -> None:
    say(model, "error", error="no memory", worker="second")
    assert now(model) == ("ready", 1.0, "")
    heartbeats.clear_heartbeat("first")
    assert now(model) == ("error", None, "no memory")


def test_a_model_that_still_answers_is_named_while_the_new_one_loads_and_when_its_load_failed(
    model: LanguageModel, admin_client: Client
) -> None:
    old = LanguageModel.objects.create(name="old", source="owner/old", **SIZES)
    beat = heartbeats.Heartbeat("first", "old", "loading", "cpu", 0, 0, 16, 0, load=model.load_id, is_open=True)
    row = f"{LIST}{model.pk}/change/"
    for status, error in (("loading", ""), ("error", "no memory")):
        heartbeats.write_heartbeat(replace(beat, status=status, error=error))
        assert now(model)[0] == status
        assert model.still_served == ["old"]
        assert admin_client.get(f"/api/models/{model.pk}").json()["still_served"] == ["old"]
        for page in (LIST, row):
            assert "old still answers requests, unsteered." in " ".join(admin_client.get(page).content.decode().split())
    assert "still answer" not in admin_client.get(f"{LIST}{old.pk}/change/").content.decode()
    say(model, "ready", 1.0, worker="first")
    model.refresh_from_db()
    assert model.still_served == []


def test_the_worker_that_is_furthest_is_shown(model: LanguageModel) -> None:
    heartbeats.clear_heartbeat("first")
    assert now(model)[0] == "queued"
    say(model, "error", error="broken", worker="a")
    say(model, "downloading", 0.7, worker="b")
    say(model, "downloading", 0.2, worker="c")
    assert now(model) == ("downloading", 0.7, "")
    say(model, "loading", worker="c")
    assert now(model) == ("loading", None, "")


def test_what_a_worker_says_of_an_earlier_load_is_not_of_this_one(model: LanguageModel) -> None:
    say(model, "error", error="no memory", worker="first")
    model.refresh_from_db()
    model.load()
    assert now(model) == ("queued", None, "")


def test_an_unloaded_model_is_not_served_any_more_though_its_worker_has_not_noticed(model: LanguageModel) -> None:
    model.unload()
    assert now(model)[0] == "registered"


def test_two_who_load_at_once_ask_for_one_load() -> None:
    LanguageModel.objects.create(name="tiny", source="owner/tiny", **SIZES)
    first, second = LanguageModel.objects.get(), LanguageModel.objects.get()
    first.load()
    second.load()
    assert second.load_count == 1


def test_a_worker_that_is_pinned_to_a_model_serves_it_whichever_is_current(model: LanguageModel) -> None:
    other = LanguageModel.objects.create(name="other", source="owner/other", **SIZES)
    assert now(other)[0] == "registered"
    say(other, "ready", 1.0, worker="pinned")
    assert now(other)[0] == "ready"


def test_a_worker_of_an_older_version_says_what_it_serves(model: LanguageModel) -> None:
    heartbeats.write_heartbeat(heartbeats.Heartbeat("first", "tiny", "ready", "cpu", 0, 0, 16, 0))
    assert now(model)[0] == "ready"


def test_without_redis_the_state_is_not_known_and_is_said_to_be_so(
    model: LanguageModel, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = redis.Redis.from_url(f"redis://127.0.0.1:{free_port()}", decode_responses=True)
    monkeypatch.setattr(connections, "connection", away)
    said = "Redis does not answer: what workers do with the model is not known."
    assert now(model) == ("unknown", None, said)
    assert said in admin_client.get(LIST).content.decode()
    api = APIClient()
    api.force_authenticate(User.objects.create_superuser("root"))
    [row] = api.get("/api/models").data["results"]
    assert (row["status"], row["error"]) == ("unknown", said)
    assert api.post(f"/api/models/{model.pk}/unload").data["is_current"] is False


def test_a_list_looks_at_the_workers_once(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    LanguageModel.objects.bulk_create(LanguageModel(name=f"m{i}", source="/m", **SIZES) for i in range(10))
    looks, live = 0, heartbeats.live_workers

    def look() -> list[heartbeats.Heartbeat]:
        nonlocal looks
        looks += 1
        return live()

    monkeypatch.setattr(heartbeats, "live_workers", look)
    assert [row.status for row in LanguageModel.objects.all()] == ["registered"] * 10 + ["ready"]
    assert looks == 1

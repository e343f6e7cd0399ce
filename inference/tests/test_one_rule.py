"""REST and the admin do the same to models and SAEs: each calls the one method that has the rule."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from inference.models import LanguageModel
from inference.tests.conftest import say
from steering.models import SAE, SteeringState

MODEL = {"source": "/m", "d_model": 16, "num_layers": 4, "context_length": 512}
MODELS, SAES = "/admin/inference/languagemodel/", "/admin/steering/sae/"
Change = Callable[[LanguageModel, dict[str, str]], None]


@pytest.fixture
def model(db: None, own_redis: Any) -> LanguageModel:
    """Current and ready."""
    made = LanguageModel.objects.create(name="tiny", **MODEL)
    made.load()
    say(made, "ready", 1.0)
    made.refresh_from_db()
    return made


@pytest.fixture(params=["REST", "admin"])
def change(request: pytest.FixtureRequest, admin_client: Client) -> Change:
    """Change how a model is loaded."""

    def by_rest(model: LanguageModel, options: dict[str, str]) -> None:
        answer = admin_client.patch(f"/api/models/{model.pk}", options, content_type="application/json")
        assert answer.status_code == 200, answer.content

    def by_admin(model: LanguageModel, options: dict[str, str]) -> None:
        form = {"dtype": model.dtype, "device": model.device} | options
        assert admin_client.post(f"{MODELS}{model.pk}/change/", form).status_code == 302

    return by_rest if request.param == "REST" else by_admin


def test_other_options_of_the_current_model_load_it_again(model: LanguageModel, change: Change) -> None:
    change(model, {"dtype": "float32"})
    after = LanguageModel.objects.get()
    assert (after.dtype, after.status) == ("float32", "queued")
    assert after.load_id != model.load_id


def test_the_same_options_change_nothing(model: LanguageModel, change: Change) -> None:
    change(model, {"dtype": model.dtype})
    after = LanguageModel.objects.get()
    assert (after.status, after.load_count, after.updated_at) == ("ready", model.load_count, model.updated_at)


def test_options_of_another_model_are_kept_for_its_next_load(model: LanguageModel, change: Change) -> None:
    model.unload()
    change(model, {"device": "cpu"})
    after = LanguageModel.objects.get()
    assert (after.device, after.status, after.load_count) == ("cpu", "registered", model.load_count)


@pytest.mark.django_db(transaction=True)
def test_a_change_of_options_waits_for_whoever_changes_what_is_served(model: LanguageModel, change: Change) -> None:
    """A model that is unloaded meanwhile is not loaded again."""

    def run() -> None:
        try:
            change(model, {"dtype": "float32"})
        finally:
            connection.close()

    changing = Thread(target=run)
    with transaction.atomic():
        SteeringState.objects.lock()
        changing.start()
        changing.join(timeout=0.5)
        assert changing.is_alive()
        model.unload()
    changing.join(timeout=20)
    after = LanguageModel.objects.get()
    assert (after.dtype, after.is_current, after.status) == ("float32", False, "registered")


def test_a_load_is_cancelled_only_while_it_is_under_way(model: LanguageModel, admin_client: Client) -> None:
    refused = admin_client.post(f"/api/models/{model.pk}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_cancel")
    assert "tiny is ready already: nothing was cancelled" in refused.json()["detail"]
    assert LanguageModel.objects.get().is_current
    model.load()
    answer = admin_client.post(f"/api/models/{model.pk}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["is_current"]) == (200, "registered", False)


@pytest.mark.parametrize("status", ["ready", "registered", "error"])
def test_a_download_is_cancelled_only_while_it_is_under_way(admin_client: Client, status: str) -> None:
    sae = SAE.objects.create(id="s", source="owner/s", status=status)
    refused = admin_client.post("/api/saes/s/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_cancel")
    told = f"SAE s is {status} already: nothing was cancelled"
    assert told in refused.json()["detail"]
    assert told in admin_client.post(f"{SAES}s/cancel/", follow=True).content.decode()
    SAE.objects.update(status="downloading")
    assert admin_client.post("/api/saes/s/cancel").json()["status"] == "registered"
    sae.refresh_from_db()
    assert sae.status == "registered"

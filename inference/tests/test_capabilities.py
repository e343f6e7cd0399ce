"""What the engine of every worker of a model lacks is refused before it waits for ever, and told on the dashboard."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from inference.broker import heartbeats
from inference.capabilities import MEASUREMENTS, OF_TRANSFORMERS_ONLY
from inference.models import LanguageModel
from inference.tests.test_model_resources import user
from profiles.models import Profile
from steering.models import SAE

pytestmark = pytest.mark.django_db
HOOK = {"d_in": 16, "d_sae": 100, "layer": 2, "hook_name": "blocks.2.hook_resid_post", "status": "ready"}
SWEEP = {"profile": "ocean", "values": [1], "prompts": ["x"]}


@pytest.fixture(autouse=True)
def model(own_redis: object) -> LanguageModel:
    model = LanguageModel.objects.create(name="tiny", source="/tiny", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    model.attach(SAE.objects.create(id="s", source="/sae", fingerprint="a" * 64, **HOOK))
    Profile.objects.create_from(name="ocean", strengths={3: 4.0})
    return model


@pytest.fixture
def api() -> APIClient:
    return user("change_sae", "view_sae", "view_profile", "change_profile")


def serve(engine: str, lacks: tuple[str, ...] = (), model: str = "tiny") -> None:
    beat = heartbeats.Heartbeat(f"{engine}:1", model, "ready", "cpu", 0, 0, 16, 0, engine=engine, lacks=lacks)
    heartbeats.write_heartbeat(beat)


def measure(api: APIClient) -> Any:
    return api.post("/api/saes/s/measure", b"one fox", content_type="application/octet-stream")


def sweep(api: APIClient) -> Any:
    return api.post("/api/sweeps", SWEEP, format="json")


@pytest.mark.parametrize("ask", [measure, sweep])
def test_what_no_worker_of_the_model_can_do_is_refused(api: APIClient, ask: Any) -> None:
    serve("vllm", OF_TRANSFORMERS_ONLY)
    answer = ask(api)
    assert (answer.status_code, answer.data["code"]) == (409, "engine_unsupported")
    assert "tiny is served by the engine vllm, which does not support" in str(answer.data)
    serve("transformers", model="other")
    assert ask(api).status_code == 409
    serve("transformers")
    assert ask(api).status_code == 202


def test_a_measurement_that_no_worker_serves_yet_waits(api: APIClient) -> None:
    assert measure(api).status_code == 202


def test_the_dashboard_names_the_engine_and_what_it_lacks(admin_client: Client) -> None:
    serve("vllm", (MEASUREMENTS,))
    told = " ".join(admin_client.get("/admin/").content.decode().split())
    assert "The engine vllm does not support measurements of features over texts." in told


def test_a_heartbeat_keeps_what_its_engine_lacks() -> None:
    serve("vllm", OF_TRANSFORMERS_ONLY)
    [found] = heartbeats.live_workers()
    assert (found.engine, found.lacks) == ("vllm", OF_TRANSFORMERS_ONLY)

"""Steering from any OpenAI client: by a model id, by strengths of the request's own, by activation."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from inference.tests.conftest import Server
from profiles.models import Profile
from steering.models import SAE, SteeringState

MESSAGES = [{"role": "user", "content": "Tell me something."}]


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"model": "demo", "messages": MESSAGES, "temperature": 0} | body)


def text(answer: httpx.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def test_every_fitting_profile_is_a_model(client: httpx.Client) -> None:
    Profile.objects.create(name="foreign", model_id="gpt2")
    sae = SAE.objects.get()
    made_for = {"model_id": "demo", "sae_id": sae.id, "layer": sae.layer}
    odd = Profile.objects.create(name="odd: λ/x?#%", strengths={1: 1.0}, **made_for)
    ids = [model["id"] for model in client.get("/models").json()["data"]]
    assert ids[0] == "demo"
    assert set(ids[1:]) == {f"demo:{p.name}" for p in Profile.objects.exclude(name="foreign")}
    found = client.get(
        f"/models/{httpx.URL('x', params={'q': f'demo:{odd.name}'}).query.decode()[2:].replace('+', '%20')}"
    )
    assert found.json()["id"] == f"demo:{odd.name}"
    assert ask(client, model=f"demo:{odd.name}").status_code == 200
    for answer in (client.get("/models/demo:nobody"), ask(client, model="demo:nobody")):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
        assert answer.json()["error"]["message"].startswith("There is no profile `nobody` that fits `demo`")


def test_a_profile_by_model_id_steers_its_request_alone(client: httpx.Client) -> None:
    plain = ask(client)
    steered = ask(client, model="demo:ocean")
    profile = Profile.objects.get(name="ocean")
    own = ask(client, steering={"features": {str(i): s for i, s in profile.strengths.items()}})
    assert text(steered) == text(own) != text(plain)
    assert steered.json()["model"] == "demo:ocean"
    assert steered.headers["X-miLLM-Profile"] == "ocean"
    assert steered.headers["X-miLLM-Steering"] == own.headers["X-miLLM-Steering"] != "none"
    assert plain.headers["X-miLLM-Steering"] == "none"
    assert plain.headers["X-miLLM-Profile"] == ""
    assert steered.json()["system_fingerprint"] == own.json()["system_fingerprint"]
    assert Profile.objects.active() is None
    assert SteeringState.objects.load().version == 0


def test_no_features_are_explicitly_unsteered(client: httpx.Client) -> None:
    plain = ask(client)
    Profile.objects.get(name="space").activate()
    live = ask(client)
    assert unquote(live.headers["X-miLLM-Profile"]) == "space"
    unsteered = ask(client, steering={"features": {}})
    assert text(unsteered) == text(plain) != text(live)
    assert unsteered.headers["X-miLLM-Steering"] == "none"


def test_sixteen_at_once_by_model_id_get_what_each_gets_alone(client: httpx.Client) -> None:
    Profile.objects.get(name="winter").activate()
    models = ["demo", "demo:ocean", "demo:space", "demo:music"]
    bodies = [{"model": models[i % 4], "seed": i, "temperature": 1.0, "max_tokens": 50} for i in range(16)]
    with ThreadPoolExecutor(16) as pool:
        together = [text(answer) for answer in pool.map(lambda body: ask(client, **body), bodies)]
    assert together == [text(ask(client, **body)) for body in bodies]
    active = Profile.objects.active()
    assert active is not None
    assert active.name == "winter"
    assert not active.differs_from(SteeringState.objects.load())


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "demo:ocean", "profile": "space"}, 400, "invalid_request", "profile"),
        ({"profile": "space", "steering": {"features": {}}}, 400, "invalid_request", "steering"),
        ({"steering": {"features": {"99999": 1.0}}}, 400, "invalid_steering", "steering.features.99999"),
        ({"steering": {"features": {"1": "x"}}}, 400, "invalid_steering", "steering.features.1"),
        ({"steering": {}}, 400, "invalid_request", "steering.features"),
        ({"steering": {"features": {}, "layer": 1}}, 400, "invalid_request", "steering.layer"),
        ({"steering": 3}, 400, "invalid_request", "steering"),
        ({"model": "demo:foreign"}, 409, "profile_incompatible", "model"),
        ({"model": "demo:"}, 404, "model_not_found", "model"),
    ],
)
def test_what_cannot_steer_is_refused_and_changes_nothing(
    client: httpx.Client, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    Profile.objects.create(name="foreign", model_id="gpt2")
    answer = ask(client, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error
    assert SteeringState.objects.load().version == 0

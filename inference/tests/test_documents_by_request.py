"""Documents, sums and intensities from any OpenAI client: what the answer is steered by, and what the answer says."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inference.tests.conftest import Server
from profiles.models import Profile
from steering.models import SAE, Feature, SteeringState

MESSAGES = [{"role": "user", "content": "Tell me something."}]


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"model": "demo", "messages": MESSAGES, "temperature": 0} | body)


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def strengths(name: str, intensity: float = 1.0) -> dict[str, float]:
    return {str(i): s * intensity for i, s in Profile.objects.get(name=name).strengths.items()}


def test_an_intensity_gives_the_answer_of_scaled_strengths(client: httpx.Client) -> None:
    half = ask(client, steering={"features": strengths("ocean", 0.5)})
    answers = [
        ask(client, model="demo:ocean@0.5"),
        ask(client, model="demo:ocean", intensity=0.5),
        ask(client, steering={"features": strengths("ocean")}, intensity=0.5),
        ask(client, steering={"features": strengths("ocean"), "intensity": 0.5}),
    ]
    assert {text(answer) for answer in answers} == {text(half)} != {text(ask(client, model="demo:ocean"))}
    assert {answer.headers["X-miLLM-Steering"] for answer in answers} == {half.headers["X-miLLM-Steering"]}
    assert answers[0].json()["model"] == "demo:ocean@0.5"
    assert client.get("/models/demo:ocean@0.5").json()["id"] == "demo:ocean@0.5"


def test_a_sum_of_profiles_gives_the_answer_of_summed_strengths(client: httpx.Client) -> None:
    ocean, space = strengths("ocean", 0.5), strengths("space", 0.25)
    summed = {index: ocean.get(index, 0) + space.get(index, 0) for index in ocean.keys() | space.keys()}
    found = ask(client, steering={"profiles": {"ocean": 0.5, "space": 0.25}})
    assert text(found) == text(ask(client, steering={"features": summed}))
    names = [item.split(";")[1] for item in found.headers["X-miLLM-Steering-Profile"].split(", ")]
    assert names == ['name="ocean"', 'name="space"']
    assert Profile.objects.active() is None


def test_a_profile_is_activated_as_it_is_and_the_intensity_is_of_its_request(client: httpx.Client) -> None:
    text(ask(client, profile="ocean", intensity=0.5))
    state = SteeringState.objects.load()
    assert not Profile.objects.get(name="ocean").differs_from(state)
    assert text(ask(client)) == text(ask(client, model="demo:ocean"))


def test_the_answer_says_the_raw_values_where_a_unit_is_not_raw(client: httpx.Client) -> None:
    sae = SAE.objects.get()
    Feature.objects.update_or_create(sae=sae, index=3, defaults={"maximum": 8.0})
    steering = {"features": {"3": 0.5}, "unit": "max_activation"}
    place = {"sae": sae.pk, "layer": sae.layer, "hook_name": sae.hook_name}
    whole = ask(client, steering=steering)
    assert whole.json()["millm"] == {"steering": [{**place, "features": {"3": 4.0}}]}
    assert text(whole) == text(ask(client, steering={"features": {"3": 4.0}}))
    lines = ask(client, steering=steering, stream=True, max_tokens=3).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert chunks[-1]["millm"] == whole.json()["millm"]
    assert "millm" not in ask(client, steering={"features": {"3": 4.0}}).json()


@pytest.mark.parametrize(
    ("body", "status", "param", "told"),
    [
        ({"intensity": 2.5}, 400, "intensity", "expected at most 2, got 2.5"),
        ({"model": "demo:ocean@0.5", "intensity": 1}, 400, "intensity", "expected one of them"),
        (
            {"steering": {"features": None}},
            400,
            "steering.features",
            "this field is missing: expected features, profiles or also",
        ),
        ({"steering": {"profiles": {}}}, 400, "steering.features", "this field is missing"),
        ({"steering": {"profiles": ["ocean"]}}, 400, "steering.profiles", "expected an object"),
        ({"steering": {"features": {"1": {"mode": "set"}}}}, 400, "steering.features.1.mode", "got 'set'"),
        ({"steering": {"also": [{"sae": "x", "features": {"1": 1}}]}}, 409, "steering.also.0.sae", "not attached"),
        ({"steering": {"features": {"1": 1}, "unit": "residual"}}, 409, "steering.features", "measure the SAE"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, body: dict[str, Any], status: int, param: str, told: str) -> None:
    SAE.objects.update(residual_norm=None)
    answer = ask(client, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), error
    assert told in error["message"]


def test_embeddings_have_no_intensity(client: httpx.Client) -> None:
    answer = client.post("/embeddings", json={"model": "demo", "input": "a", "intensity": 1})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "intensity")

"""A vector made of ten pairs of sentences moves the demo's answers to their topic, as the topic's profile does."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from inference.demo.tiny.grammar import HELD_OUT_PROMPTS, TOPICS
from inference.demo.tiny.measure import Shares, shares
from inference.management.commands.check_demo import ON_TOPIC, WELL_FORMED
from inference.tests.conftest import Server
from inference.tests.test_contrast_of_texts import sides

ANSWERS = 16


@pytest.fixture
def client(server: Server, api_key: str) -> Any:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60) as client:
        yield client


def measured(client: httpx.Client, topic: str, **fields: Any) -> Shares:
    """Of answers to prompts that name no topic."""

    def answer(seed: int) -> str:
        messages = [{"role": "user", "content": HELD_OUT_PROMPTS[seed % len(HELD_OUT_PROMPTS)]}]
        body = {"model": "demo", "messages": messages, "max_tokens": 40, "seed": seed, **fields}
        found = client.post("/v1/chat/completions", json=body).raise_for_status().json()
        return str(found["choices"][0]["message"]["content"])

    with ThreadPoolExecutor(8) as pool:
        return shares([*pool.map(answer, range(ANSWERS))], topic)


@pytest.mark.parametrize("method", ["difference", "pca"])
@pytest.mark.parametrize("topic", TOPICS)
def test_it_steers_to_the_topic(client: httpx.Client, topic: str, method: str) -> None:
    body = {**sides(topic), "id": "made", "layer": 1, "method": method}
    client.post("/api/vectors", json=body).raise_for_status()
    client.post("/api/saes/made/attach", json={"also": True}).raise_for_status()
    assert measured(client, topic).on_topic < ON_TOPIC
    steered = measured(client, topic, steering={"also": [{"sae": "made", "features": {"0": 1.0}}]})
    assert steered.on_topic >= ON_TOPIC
    assert steered.well_formed >= WELL_FORMED


def test_it_steers_by_a_profile_whose_own_sae_it_is(client: httpx.Client) -> None:
    client.post("/api/vectors", json={**sides("ocean"), "id": "made", "layer": 1}).raise_for_status()
    client.post("/api/saes/made/attach").raise_for_status()
    profile = {"name": "sea", "model_id": "demo", "sae_id": "made", "layer": 1, "steering": {"0": 1.0}}
    client.post("/api/profiles", json=profile).raise_for_status()
    assert measured(client, "ocean", model="demo:sea").on_topic >= ON_TOPIC


def test_its_strength_can_be_a_share_of_the_residual_stream_over_its_texts(client: httpx.Client) -> None:
    answer = client.post("/api/vectors", json={**sides("ocean"), "id": "made", "layer": 1}).raise_for_status()
    made = answer.json()["made"]
    client.post("/api/saes/made/attach", json={"also": True}).raise_for_status()
    share = made["norm"] / made["residual_norm"]
    steering = {"unit": "residual", "also": [{"sae": "made", "features": {"0": share}}]}
    assert measured(client, "ocean", steering=steering).on_topic >= ON_TOPIC

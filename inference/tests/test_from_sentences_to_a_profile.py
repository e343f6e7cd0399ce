"""From sentences of a topic to a profile that steers to it, over REST and /v1, by the measure of `check_demo`."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from inference.demo.tiny.grammar import HELD_OUT_PROMPTS, TOPICS
from inference.demo.tiny.measure import Shares, shares
from inference.tests.conftest import Server
from inference.tests.test_contrast_of_texts import sides

ANSWERS, FEATURES, ON_TOPIC = 16, 2, 0.6


@pytest.fixture
def client(server: Server, api_key: str) -> Any:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60) as client:
        yield client


def answer(client: httpx.Client, model: str, seed: int) -> str:
    messages = [{"role": "user", "content": HELD_OUT_PROMPTS[seed % len(HELD_OUT_PROMPTS)]}]
    body = {"model": model, "messages": messages, "max_tokens": 40, "seed": seed}
    found = client.post("/v1/chat/completions", json=body).raise_for_status().json()
    return str(found["choices"][0]["message"]["content"])


def measured(client: httpx.Client, model: str, topic: str) -> Shares:
    with ThreadPoolExecutor(8) as pool:
        return shares([*pool.map(partial(answer, client, model), range(ANSWERS))], topic)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_profile_of_the_first_features_of_a_contrast_steers_to_the_topic(client: httpx.Client, topic: str) -> None:
    """With the difference of the means as the strength, as Explore suggests it."""
    contrast = client.post("/api/features/contrast", json=sides(topic)).raise_for_status().json()
    steering = {str(one["index"]): one["difference"] for one in contrast["features"][:FEATURES]}
    profile = {"name": "found", "model_id": "demo", "sae_id": contrast["sae"], "layer": 1, "steering": steering}
    client.post("/api/profiles", json=profile).raise_for_status()
    assert measured(client, "demo", topic).on_topic < ON_TOPIC
    steered = measured(client, "demo:found", topic)
    assert steered.on_topic >= ON_TOPIC
    assert steered.well_formed >= ON_TOPIC

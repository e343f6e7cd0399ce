"""A running worker measures the demo's SAE over REST; what it measured is what a reading finds."""

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from inference.demo.tiny.grammar import TOPICS, sentence
from inference.measuring.models import Measurement
from inference.tests.conftest import Server
from steering.models import SAE, Feature, FeatureExample

URL = "/api/saes/demo-sae/measure"
LIMIT_S = 120


@pytest.fixture
def rest(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


def texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [sentence(rng.choice(list(TOPICS)), rng) for _ in range(count)]


def wait_until(rest: httpx.Client, condition: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not condition(row := rest.get(URL).json()):
        assert time.monotonic() < deadline, row
        time.sleep(0.05)
    return row


def measured(rest: httpx.Client) -> Any:
    row = wait_until(rest, lambda row: row["status"] not in ("queued", "measuring"))
    assert (row["status"], row["error"]) == ("measured", "")
    return row


def test_what_is_measured_over_texts_is_what_their_reading_finds(rest: httpx.Client) -> None:
    lines = texts(40)
    chat = [{"role": "user", "content": "Tell me about the whale."}, {"role": "assistant", "content": lines[0]}]
    corpus = [*({"text": line} for line in lines), {"messages": chat}]
    answer = rest.post(URL, content="\n".join(map(json.dumps, corpus)))
    assert answer.status_code == 202, answer.text
    row = measured(rest)
    read = rest.post("/api/activations", json={"texts": lines, "sae": "demo-sae", "top_k": 16}).json()["texts"]
    chats = rest.post("/api/activations", json={"messages": chat, "sae": "demo-sae", "top_k": 16}).json()["texts"]
    tokens = [token for text in [*read, *chats] for token in text["tokens"] if not token["special"]]
    assert row["tokens"] == len(tokens)
    assert row["texts"] == 41
    maxima: dict[int, float] = {}
    for text in [*read, *chats]:
        for feature in text["features"]:
            maxima[feature["index"]] = max(maxima.get(feature["index"], 0.0), feature["maximum"])
    stored = dict(Feature.objects.filter(sae_id="demo-sae").values_list("index", "maximum"))
    assert len(stored) == 512
    for index, maximum in maxima.items():
        assert stored[index] == pytest.approx(maximum, rel=1e-3)
    assert {index for index, maximum in stored.items() if maximum} == set(maxima)
    strongest = max(maxima, key=lambda index: maxima[index])
    example = FeatureExample.objects.filter(sae_id="demo-sae", index=strongest, source="measured").first()
    assert example is not None
    assert example.maximum == pytest.approx(maxima[strongest], rel=1e-3)
    feature = Feature.objects.get(sae_id="demo-sae", index=strongest)
    assert all(isinstance(token, str) for token, _ in feature.promoted or [])
    assert SAE.objects.get(pk="demo-sae").measured_tokens == len(tokens)


def test_a_measuring_in_progress_is_cancelled(rest: httpx.Client) -> None:
    assert rest.post(URL, content="\n".join(texts(20_000))).status_code == 202
    wait_until(rest, lambda row: row["tokens"] > 0)
    assert rest.post(f"{URL}/cancel").json()["status"] == "cancelled"
    rest.post(URL, content="one whale")
    assert measured(rest)["texts"] == 1


def test_a_chat_is_answered_while_an_sae_is_measured(rest: httpx.Client, server: Server, api_key: str) -> None:
    rest.post(URL, content="\n".join(texts(20_000)))
    wait_until(rest, lambda row: row["tokens"] > 0)
    messages: Any = [{"role": "user", "content": "Tell me something."}]
    for _ in range(5):
        answer = server.openai(api_key).chat.completions.create(model="demo", messages=messages, max_tokens=32)
        assert answer.choices[0].message.content
    assert rest.get(URL).json()["status"] == "measuring"
    rest.post(f"{URL}/cancel")


def test_a_measuring_of_a_killed_worker_is_another_workers(rest: httpx.Client, server: Server) -> None:
    lines = texts(3000)
    rest.post(URL, content="\n".join(lines))
    wait_until(rest, lambda row: row["tokens"] > 0)
    server.worker.send_signal(signal.SIGKILL)
    server.worker.wait(20)
    assert rest.get(URL).json()["status"] == "measuring"
    server.worker = server.start_worker()
    row = measured(rest)
    assert row["texts"] == len(lines)
    assert Measurement.objects.get().attempts == 2
    example = FeatureExample.objects.filter(sae_id="demo-sae", source="measured").first()
    assert example is not None

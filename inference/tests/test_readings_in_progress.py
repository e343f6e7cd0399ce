"""Readings that take long: chats go on beside them, clients leave, too many are refused."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from django.conf import settings

from inference.tests.conftest import Server
from inference.tests.test_load import wait_for

LONG = {"texts": ["whale " * 4000] * 8, "top_k": 1}
SHORTER = {"texts": ["whale " * 1000] * 2, "top_k": 1}
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Tell me something."}], "max_tokens": 5}


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=120) as client:
        yield client


def ended(server: Server, how: str) -> int:
    """The number of readings that a worker's log says have ended so."""
    lines = (server.logs / "worker.log").read_text().splitlines()
    return sum("activations-" in line and how in line for line in lines)


@contextmanager
def reading(client: httpx.Client, body: dict[str, Any], count: int) -> Iterator[list[httpx.Response]]:
    """The answers to `count` readings, complete at the end of the block."""
    answers: list[httpx.Response] = []

    def read() -> None:
        answers.append(client.post("/api/activations", json=body))

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        for thread in threads:
            thread.join()


def test_chats_are_answered_while_a_reading_goes_on(server: Server, client: httpx.Client) -> None:
    answered = 0
    with reading(client, LONG, 1) as answers:
        while not answers:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
            answered += not answers
    assert answers[0].status_code == 200
    assert answered > 1


def test_a_reading_ends_when_its_client_leaves(server: Server, client: httpx.Client) -> None:
    before, answered = ended(server, "cancelled"), ended(server, "answered")
    with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=httpx.Timeout(60, read=0.5)) as leaving:
        for _ in range(2):  # the second one waits for the first
            with pytest.raises(httpx.ReadTimeout):
                leaving.post("/api/activations", json=LONG)
    wait_for(lambda: ended(server, "cancelled") == before + 2, timeout_s=60)
    assert ended(server, "answered") == answered
    assert client.post("/api/activations", json={"texts": "whale"}).status_code == 200


def test_more_readings_than_may_wait_are_told_to_come_back(server: Server, client: httpx.Client) -> None:
    many = 2 * settings.INFERENCE_MAX_READING_REQUESTS
    with reading(client, LONG, 1), reading(client, SHORTER, many) as answers:  # the first keeps the others waiting
        pass
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "engine_busy"
    assert int(refused.headers["Retry-After"]) >= 1

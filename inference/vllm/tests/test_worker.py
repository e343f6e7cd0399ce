"""A whole worker on vLLM: answers over HTTP, refusals by name, and what is left when a process of it is killed."""

import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from inference.broker import heartbeats
from inference.capabilities import OF_TRANSFORMERS_ONLY
from inference.tests.conftest import Server

CHAT: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Tell me something."}],
    "max_tokens": 12,
    "temperature": 0,
}
LONG = CHAT | {"max_tokens": 3000, "logit_bias": {"1": -100, "2": -100, "3": -100}, "stream": True}


@pytest.fixture
def client(server: Server, api_key: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {api_key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=120)


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def eventually(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.1)


def start_again(server: Server) -> None:
    """A new worker, ready; the killed one's heartbeat must not be taken for its own."""
    eventually(lambda: not heartbeats.live_workers())
    server.worker = server.start_worker()
    server.wait_until_ready()


def processes_of(worker: int) -> list[psutil.Process]:
    """vLLM's processes of a worker."""
    return psutil.Process(worker).children(recursive=True)


def test_a_heartbeat_names_the_engine_and_what_it_lacks(server: Server) -> None:
    [beat] = [one for one in heartbeats.live_workers() if one.serves("demo")]
    assert (beat.engine, beat.lacks) == ("vllm", OF_TRANSFORMERS_ONLY)


def test_chats_are_steered_each_by_its_own(client: httpx.Client) -> None:
    plain = text_of(client.post("/v1/chat/completions", json=CHAT))
    steered = text_of(client.post("/v1/chat/completions", json=CHAT | {"model": "demo:ocean"}))
    given = CHAT | {"steering": {"features": {"1": 30.0}}}
    assert len({plain, steered, text_of(client.post("/v1/chat/completions", json=given))}) == 3
    assert text_of(client.post("/v1/chat/completions", json=CHAT)) == plain


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/v1/embeddings", {"model": "demo", "input": "x"}, "embeddings"),
        ("/v1/chat/completions", CHAT | {"activations": {"top_k": 1}}, "features of answers"),
        (
            "/v1/completions",
            {"model": "demo", "prompt": "x", "echo": True, "logprobs": 1, "max_tokens": 1},
            "log-probabilities of prompts",
        ),
        (
            "/v1/chat/completions",
            CHAT | {"steering": {"features": {"1": 5.0}, "when": {"feature": 2, "above": 1.0}}},
            "under a condition",
        ),
    ],
)
def test_what_it_does_not_support_is_refused_by_name(
    client: httpx.Client, path: str, body: dict[str, Any], named: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "engine_unsupported"
    assert f"does not support {named}" in error["message"] or named in error["message"]


def test_a_worker_whose_engine_was_killed_ends_and_its_answers_fail(server: Server, client: httpx.Client) -> None:
    with client.stream("POST", "/v1/chat/completions", json=LONG) as answer:
        lines = (line for line in answer.iter_lines() if line)
        next(lines), next(lines)
        for process in processes_of(server.worker.pid):
            process.send_signal(signal.SIGKILL)
        last = list(lines)[-1]
    assert '"error"' in last
    assert server.worker.wait(timeout=60) != 0
    start_again(server)


def test_no_process_of_vllm_outlives_its_worker(server: Server) -> None:
    children = processes_of(server.worker.pid)
    assert len(children) >= 2
    server.worker.send_signal(signal.SIGKILL)
    server.worker.wait()
    eventually(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children))
    start_again(server)

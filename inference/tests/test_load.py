"""Disconnects, several workers, draining, many streams: seen from outside, with the real processes."""

import json
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from django.conf import settings

from inference.broker import connections, heartbeats
from inference.broker.events import alive_inboxes
from inference.tests.conftest import Server

LONG = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Tell me something."}],
    "max_tokens": 3000,
    "temperature": 2.0,
    "logit_bias": {"1": -100, "2": -100, "3": -100},  # the ends, so that it goes on
}


def running() -> int:
    return sum(heartbeat.running + heartbeat.waiting for heartbeat in heartbeats.live_workers())


def wait_for(condition: Callable[[], bool], timeout_s: float) -> float:
    """How long it took until `condition` held, in seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_goes_away_frees_its_place(server: Server, api_key: str, streamed: bool) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    wait_for(lambda: running() == 0, 30)
    with httpx.Client(headers=headers, timeout=httpx.Timeout(30, read=1.5)) as client:
        try:
            with client.stream("POST", f"{server.url}/v1/chat/completions", json=LONG | {"stream": streamed}) as answer:
                lines = answer.iter_lines()  # kept: an iterator that is dropped closes the connection
                next(lines)
                wait_for(lambda: running() == 1, 20)
        except httpx.ReadTimeout:
            assert not streamed
    wait_for(lambda: running() == 0, 5)  # less than what is left of the answer takes


def test_of_two_workers_one_dies_and_only_its_answers_fail(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    second = server.start_worker()
    wait_for(lambda: [beat.serves("demo") for beat in heartbeats.live_workers()] == [True] * 2, 90)
    ends: list[str] = []

    def ask(_i: int) -> None:
        body = LONG | {"stream": True, "max_tokens": 700}
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=90
        ) as answer:
            lines = [line for line in answer.iter_lines() if line]
        # Before its first token it is no event, but an answer with 503.
        last = lines[-1].removeprefix("data: ")
        ends.append("done" if last == "[DONE]" else json.loads(last)["error"]["code"])

    with ThreadPoolExecutor(24) as pool:
        answers = [pool.submit(ask, i) for i in range(24)]
        # Both have taken some: 16 are one worker's batch.
        wait_for(lambda: all(heartbeat.running for heartbeat in heartbeats.live_workers()), 30)
        second.send_signal(signal.SIGKILL)
        second.wait()
        for answer in answers:
            answer.result()
    assert set(ends) == {"done", "worker_lost"}
    assert ends.count("worker_lost") <= 16


def test_a_stopping_worker_finishes_what_runs_first(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    body = LONG | {"stream": True, "max_tokens": 100}  # which a busy machine writes within INFERENCE_DRAIN_S
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as answer:
        lines = (line for line in answer.iter_lines() if line)
        next(lines), next(lines)
        server.worker.send_signal(signal.SIGTERM)
        last = list(lines)[-1]
    assert last == "data: [DONE]"
    assert server.worker.wait(timeout=60) == 0
    server.worker = server.start_worker()
    server.wait_until_ready()


def test_48_streams_at_once_are_not_mixed_up_and_leak_nothing(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    process = psutil.Process(server.worker.pid)

    def ask(i: int) -> str:
        body = {"model": "demo", "messages": [{"role": "user", "content": f"Tell me something. {i % 6}"}]}
        options = {"temperature": 1.0, "seed": i % 6, "max_tokens": 40}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body | options, headers=headers, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"])

    alone = [ask(i) for i in range(6)]
    with ThreadPoolExecutor(48) as pool:
        for texts in (list(pool.map(ask, range(48))) for _ in range(2)):
            assert texts == alone * 8
        before = process.memory_info().rss
        assert list(pool.map(ask, range(48))) == alone * 8
    assert process.memory_info().rss - before < 30_000_000
    wait_for(lambda: running() == 0, 30)
    [inbox] = alive_inboxes(connections.connection.keys("millm:inbox:*"))
    assert connections.connection.xlen(inbox) < 500
    assert threading.active_count() < 100


def test_open_streams_keep_no_connection_to_the_database(server: Server, api_key: str) -> None:
    """More streams than the web's pool has connections, and others are answered all the same."""
    headers = {"Authorization": f"Bearer {api_key}"}
    assert settings.DATABASE_POOL_SIZE < 20
    going_on = threading.Event()

    def hold(_i: int) -> None:
        body = LONG | {"stream": True}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=90):
            going_on.wait(30)

    with ThreadPoolExecutor(20) as pool:
        streams = [pool.submit(hold, i) for i in range(20)]
        wait_for(lambda: running() >= 16, 30)
        began = time.monotonic()
        assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200
        took_s = time.monotonic() - began
        going_on.set()
        for one in streams:
            one.result()
    assert took_s < 8  # a request that finds no connection waits longer
    wait_for(lambda: running() == 0, 10)

"""Requests that are no chats: they wait for each other, and never take the threads that chats need."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from inference.interface import EngineBusy
from inference.tests.conftest import Server
from inference.worker.side_queue import SideQueue

CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Tell me something."}], "max_tokens": 8}
TEXTS = ["The whale dives deep and the moon is high above the sea. " * 12] * 30


def test_jobs_run_one_after_another_and_one_too_many_is_refused() -> None:
    jobs, free, ran = SideQueue("tests", waiting=2), threading.Event(), list[int]()

    def job(number: int) -> None:
        free.wait(10)
        ran.append(number)

    for number in range(3):
        jobs.submit(partial(job, number))
    with pytest.raises(EngineBusy, match="2 requests for tests are waiting already"):
        jobs.submit(partial(job, 3))
    free.set()
    deadline = time.monotonic() + 5
    while len(ran) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    jobs.submit(partial(job, 4))  # there is room again
    jobs.submit(partial(job, 5))
    while len(ran) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    jobs.close()
    assert ran == [0, 1, 2, 4, 5]


def test_chats_are_answered_beside_more_embeddings_than_the_worker_has_threads(server: Server, api_key: str) -> None:
    auth = {"Authorization": f"Bearer {api_key}"}

    def embed(_: int) -> int:
        body = {"model": "demo", "input": TEXTS}
        return httpx.post(f"{server.url}/v1/embeddings", json=body, headers=auth, timeout=120).status_code

    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(embed, number) for number in range(40)]
        time.sleep(0.5)
        beside = 0
        while not all(one.done() for one in asked):
            before = time.monotonic()
            chat = httpx.post(f"{server.url}/v1/chat/completions", json=CHAT, headers=auth, timeout=60)
            assert chat.status_code == 200
            assert time.monotonic() - before < 15
            beside += 1
        assert beside
        codes = [one.result() for one in asked]
    assert set(codes) == {200, 429}  # what waits is bounded, and the others are asked to come again
    assert codes.count(200) >= 17

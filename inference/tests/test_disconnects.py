"""Clients that vanish at any moment: the server keeps serving, and their places are free within a second."""

import json
import random
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx

from inference.broker import connections
from inference.tests.conftest import Server
from inference.tests.test_load import LONG, running, wait_for

RESET = struct.pack("ii", 1, 0)  # close sends a RST at once, as a killed client's machine does


def vanish(server: Server, api_key: str, seed: int) -> None:
    """Send a request, streamed or not, and be gone up to half a second later; now and then within the request."""
    rng = random.Random(seed)
    body = json.dumps(LONG | {"stream": rng.random() < 0.5, "n": rng.choice([1, 1, 3])}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api_key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    sent = head.encode() + body
    where = urlsplit(server.url)
    assert where.port
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.sendall(sent if rng.random() < 0.9 else sent[: rng.randrange(len(sent))])
        time.sleep(rng.random() * 0.5)


def test_a_cancellation_that_the_worker_did_not_hear_is_found(server: Server, api_key: str) -> None:
    """As while its subscription is made anew: the channel tells nobody twice."""
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.stream(
        "POST", f"{server.url}/v1/chat/completions", json=LONG | {"stream": True}, headers=headers, timeout=60
    ) as answer:
        lines = (line for line in answer.iter_lines() if line)
        request = json.loads(next(lines).removeprefix("data: "))["id"]
        wait_for(lambda: running() == 1, 5)
        connections.connection.set(f"millm:cancelled:{request}", "1", ex=60)
        wait_for(lambda: running() == 0, 5)


def test_a_hundred_abrupt_disconnects_leave_nothing_behind(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    took_s: list[float] = []
    over = threading.Event()

    def keep_asking() -> None:
        with httpx.Client(base_url=server.url, headers=headers, timeout=10) as client:
            while not over.wait(0.02):
                began = time.monotonic()
                assert client.get("/v1/models").status_code == 200
                took_s.append(time.monotonic() - began)

    with ThreadPoolExecutor(9) as pool:
        asking = pool.submit(keep_asking)
        vanished = [pool.submit(vanish, server, api_key, seed) for seed in range(100)]
        for one in vanished:
            one.result()
        over.set()
        asking.result()
    wait_for(lambda: running() == 0, 5)
    assert max(took_s) < 2
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=LONG | {"max_tokens": 5}, headers=headers, timeout=30)
    assert answer.status_code == 200

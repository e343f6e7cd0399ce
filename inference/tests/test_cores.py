"""The threads that compute with all cores, and those that compute alone: helper threads that outlive their work would
slow every step of the batch."""

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
import redis
from django.conf import settings
from django.db import connection

from inference.models import LanguageModel
from inference.tests.conftest import Server, free_port, redis_url, start_web, start_worker, stop
from inference.tests.thread_telling_worker import CORES, KEY

BROKER = 7  # a Redis database of its own, so that no other worker takes the requests
THREADS = """
import os, threading, time
import torch
from inference.engine import cores

def helpers():
    return len(os.listdir("/proc/self/task")) - threading.active_count() - before

def compute():
    (torch.ones(2000, 2000) + 1).sum()
    return torch.get_num_threads(), helpers()

def in_lasting_thread(*work):
    results, done = [], threading.Event()
    def run():
        results.extend(one() for one in work)
        done.set()
        for_ever.wait()
    threading.Thread(target=run, daemon=True).start()
    done.wait()
    return results[-1]

torch.set_num_threads({cores})
for_ever, before = threading.Event(), 0
before = helpers()
if {alone}:
    cores.compute_alone()
print(compute())
print(in_lasting_thread(compute))
print(cores.with_all(compute))
deadline = time.monotonic() + 10
while helpers() and time.monotonic() < deadline:  # they end after the thread whose helpers they are
    time.sleep(0.01)
print(helpers())
print(in_lasting_thread(cores.use_all, compute))
print(in_lasting_thread(compute))
"""


def told(*, alone: bool) -> list[str]:
    code = THREADS.replace("{alone}", str(alone)).replace("{cores}", str(CORES))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return ran.stdout.splitlines()


def test_only_the_batch_and_work_that_ends_have_helper_threads() -> None:
    assert told(alone=True) == ["(1, 0)", "(1, 0)", "(3, 2)", "0", "(3, 2)", "(1, 2)"]


def test_a_process_that_is_no_worker_computes_as_torch_does() -> None:
    assert told(alone=False)[:2] == ["(3, 2)", "(3, 4)"]


def test_an_error_of_work_with_all_cores_is_its_callers() -> None:
    code = "from inference.engine import cores; cores.compute_alone(); cores.with_all(lambda: 1 / 0)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ran.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


@pytest.fixture
def telling(demo: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name, logs = str(connection.settings_dict["NAME"]), tmp_path_factory.mktemp("logs")
    database = urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}"))
    env = os.environ | {"DATABASE_URL": database, "REDIS_URL": redis_url(BROKER)}
    port = free_port()
    server = Server(
        f"http://127.0.0.1:{port}",
        lambda **own: start_worker(env | own, logs, "inference.tests.thread_telling_worker"),
        None,  # type: ignore[arg-type]
        logs,
    )
    server.worker, web = server.start_worker(), start_web(port, env, logs)
    try:
        server.wait_until_ready()
        yield server
    finally:
        stop(web, server.worker)


def test_a_worker_computes_alone_but_in_its_batch_and_beside_it(telling: Server, api_key: str) -> None:
    chat = {"model": "demo", "messages": [{"role": "user", "content": "Tell me something."}], "max_tokens": 3}
    auth = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=telling.url, headers=auth, timeout=60) as client:
        for _ in range(2):
            client.post("/v1/embeddings", json={"model": "demo", "input": "text"}).raise_for_status()
            client.post("/v1/chat/completions", json=chat | {"activations": {"top_k": 1}}).raise_for_status()
    with redis.Redis.from_url(redis_url(BROKER), decode_responses=True) as broker:
        found = {key: broker.smembers(key) for key in broker.keys(f"{KEY}*")}
        broker.flushdb()
    assert found == {
        f"{KEY}task": {"1"},
        f"{KEY}batch": {str(CORES)},
        f"{KEY}embeddings": {str(CORES)},
        f"{KEY}reading of an answer": {str(CORES)},
    }

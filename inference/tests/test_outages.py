"""PostgreSQL away, Redis away, the web killed: what clients are told, and how all goes on when the part returns."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import redis
from django.conf import settings
from django.db import connection
from django.test import Client

from inference.broker import connections, heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import Server, free_port, redis_url, start_web, start_worker
from inference.tests.faulty_worker import BLOCKING, DEADLY, POISON, STUCK, STUCK_AT
from inference.tests.proxy import Proxy
from inference.tests.test_load import LONG, wait_for
from profiles.models import Profile

RECOVERY_S = 30
CONNECTIONS = 4  # of the web and of the worker to PostgreSQL, each
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Tell me something."}], "max_tokens": 8}
FAULTY = "inference.tests.faulty_worker"
BROKER = 9  # a Redis database of its own, so that no other worker takes the requests


@dataclass
class Stack:
    """A web and a worker, whose PostgreSQL and Redis are behind proxies."""

    server: Server
    web: "subprocess.Popen[bytes]"
    env: dict[str, str]
    postgres: Proxy
    broker: Proxy
    auth: dict[str, str]

    @property
    def url(self) -> str:
        return self.server.url

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return httpx.get(self.url + path, headers=self.auth, timeout=30, **kwargs)

    def chat(self, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/chat/completions", json=CHAT | body, headers=self.auth, timeout=30)

    def answers(self) -> bool:
        try:
            return self.chat().status_code == 200
        except httpx.HTTPError:
            return False

    def start_web(self) -> None:
        self.web = start_web(urlsplit(self.url).port or 0, self.env, self.server.logs)

    def log(self, name: str) -> str:
        return (self.server.logs / name).read_text()


@pytest.fixture(scope="module")
def processes(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    database, broker_url = urlsplit(settings.DATABASE_URL), urlsplit(settings.REDIS_URL)
    folder = parse_qs(database.query)["host"][0]
    postgres, broker = Proxy(f"{folder}/.s.PGSQL.5432"), Proxy(broker_url.path)
    name = str(connection.settings_dict["NAME"])
    logs = tmp_path_factory.mktemp("logs")
    env = os.environ | {
        "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{postgres.port}/{name}",
        "REDIS_URL": f"redis://127.0.0.1:{broker.port}/{BROKER}",
        "DATABASE_POOL_SIZE": str(CONNECTIONS),
        "INFERENCE_STEP_TIMEOUT_S": "6",
    }
    server = Server(f"http://127.0.0.1:{free_port()}", lambda **own: start_worker(env | own, logs, FAULTY), None, logs)  # type: ignore[arg-type]
    server.worker = server.start_worker()
    stack = Stack(server, server.worker, env, postgres, broker, {})
    stack.start_web()
    yield stack
    for process in (stack.web, server.worker):
        process.send_signal(signal.SIGTERM)
    for process in (stack.web, server.worker):
        process.wait(timeout=90)
    postgres.close()
    broker.close()
    with redis.Redis.from_url(redis_url(BROKER)) as kept:
        kept.flushdb()


@pytest.fixture
def stack(demo: LanguageModel, api_key: str, processes: Stack) -> Stack:
    processes.auth = {"Authorization": f"Bearer {api_key}"}
    processes.server.wait_until_ready()
    return processes


def test_postgresql_away_is_told_everywhere_and_all_goes_on_when_it_is_back(stack: Stack) -> None:
    browser = Client()
    with ThreadPoolExecutor(CONNECTIONS) as pool:  # which all wait in the web's pool for the next requests
        assert {answer.status_code for answer in pool.map(stack.get, ["/api/profiles"] * 3 * CONNECTIONS)} == {200}
    Profile.objects.get(name="ocean").activate()
    with httpx.stream(
        "POST",
        f"{stack.url}/v1/chat/completions",
        json=LONG | {"stream": True, "max_tokens": 400},
        headers=stack.auth,
        timeout=60,
    ) as running:
        lines = (line for line in running.iter_lines() if line)
        next(lines)
        stack.postgres.go()
        with ThreadPoolExecutor(4) as pool:  # each waits for a connection before it gives up
            asked = [
                pool.submit(stack.chat),
                pool.submit(stack.get, "/api/profiles"),
                pool.submit(httpx.get, f"{stack.url}/admin/", cookies={"sessionid": "x" * 32}, timeout=30),
                pool.submit(stack.get, "/readyz"),
            ]
            chat, rest, page, ready = [one.result() for one in asked]
        assert (chat.status_code, chat.json()["error"]["code"]) == (503, "database_unavailable")
        assert (rest.status_code, rest.json()["missing"]) == (503, "PostgreSQL")
        assert page.status_code == 503
        assert "PostgreSQL does not answer" in page.text
        assert ready.status_code == 503
        assert "database" in ready.json()["missing"]
        assert stack.get("/healthz").status_code == 200
        assert [*lines][-1] == "data: [DONE]"  # what runs needs no database
    stack.postgres.come()
    wait_for(stack.answers, RECOVERY_S)
    assert {stack.get("/api/profiles").status_code for _ in range(2 * CONNECTIONS)} == {200}
    assert Profile.objects.active() == Profile.objects.get(name="ocean")
    browser.logout()


def test_redis_away_is_told_and_all_goes_on_when_it_is_back(stack: Stack) -> None:
    with httpx.stream(
        "POST", f"{stack.url}/v1/chat/completions", json=LONG | {"stream": True}, headers=stack.auth, timeout=60
    ) as running:
        lines = (line for line in running.iter_lines() if line)
        next(lines)
        stack.broker.go()
        began = time.monotonic()
        chat = stack.chat()
        assert (chat.status_code, chat.json()["error"]["code"]) == (503, "broker_unavailable")
        made = httpx.post(
            f"{stack.url}/api/profiles",
            json={"name": "meanwhile", "steering": {"3": 1.5}},
            headers=stack.auth,
            timeout=30,
        )
        assert made.status_code == 201  # profiles need no broker
        assert stack.get("/readyz").json()["missing"].keys() >= {"broker"}
        error = json.loads([*lines][-1].removeprefix("data: "))["error"]
        assert error["code"] in {"broker_unavailable", "worker_lost"}
        assert time.monotonic() - began < 30
    stack.broker.come()
    wait_for(stack.answers, RECOVERY_S)
    assert Profile.objects.filter(name="meanwhile").exists()


def test_a_silent_redis_is_told_as_one_that_is_away(stack: Stack) -> None:
    stack.broker.fall_silent()
    chat = stack.chat()
    assert (chat.status_code, chat.json()["error"]["code"]) == (503, "broker_unavailable")
    assert stack.get("/readyz").json()["missing"].keys() >= {"broker"}
    stack.broker.speak()
    wait_for(stack.answers, RECOVERY_S)


def test_a_worker_that_loads_its_model_while_redis_is_away_serves_when_it_is_back(stack: Stack) -> None:
    stack.broker.go()
    stack.server.worker.kill()
    stack.server.worker.wait()
    before = stack.log("worker.log").count("the rows cannot be followed")
    stack.server.worker = stack.server.start_worker()
    wait_for(lambda: stack.log("worker.log").count("the rows cannot be followed") > before, 60)  # it has loaded
    stack.broker.come()
    wait_for(stack.answers, RECOVERY_S)


def test_more_steered_answers_than_connections_to_postgresql_are_written_at_once(stack: Stack) -> None:
    def steered(i: int) -> str:
        own = {"steering": {"features": {str(i): 1.0}}, "max_tokens": 300}
        answer = stack.chat(**LONG | own)
        return "" if answer.status_code == 200 else answer.text

    with ThreadPoolExecutor(3 * CONNECTIONS) as pool:
        assert [*filter(None, pool.map(steered, range(3 * CONNECTIONS)))] == []


def test_a_poisoned_request_fails_alone(stack: Stack) -> None:
    with httpx.stream(
        "POST",
        f"{stack.url}/v1/chat/completions",
        json=LONG | {"stream": True, "max_tokens": 300},
        headers=stack.auth,
        timeout=60,
    ) as beside:
        lines = (line for line in beside.iter_lines() if line)
        next(lines)
        poison = stack.chat(seed=POISON)
        assert (poison.status_code, poison.json()["error"]["code"]) == (500, "engine_error")
        wait_for(lambda: ": engine_error in " in stack.log("worker.log"), 20)
        assert [*lines][-1] == "data: [DONE]"
    assert stack.answers()


def test_a_worker_whose_engine_died_ends_as_a_failure_and_so_it_is_started_again(stack: Stack) -> None:
    died = stack.chat(seed=DEADLY)
    assert (died.status_code, died.json()["error"]["code"]) in {(503, "worker_lost"), (503, "engine_closed")}
    assert stack.server.worker.wait(timeout=60) == 1
    stack.server.worker = stack.server.start_worker()
    stack.server.wait_until_ready()
    assert stack.answers()


def test_a_worker_whose_engine_hangs_says_so_and_ends_as_a_failure(stack: Stack) -> None:
    hung = stack.chat(seed=BLOCKING)
    assert (hung.status_code, hung.json()["error"]["code"]) in {(503, "worker_lost"), (503, "engine_closed")}
    assert stack.get("/readyz").status_code == 503
    assert stack.server.worker.wait(timeout=60) == 1
    assert "the engine is dead: a step has been running for" in stack.log("worker.log")
    stack.server.worker = stack.server.start_worker()
    stack.server.wait_until_ready()
    assert stack.answers()


def test_what_a_killed_web_had_asked_for_is_dropped_by_the_worker(stack: Stack) -> None:
    with httpx.stream(
        "POST",
        f"{stack.url}/v1/chat/completions",
        json=LONG | {"stream": True, "max_tokens": 100_000 // 32},
        headers=stack.auth,
        timeout=60,
    ) as running:
        first = next(line for line in running.iter_lines() if line)
        stack.web.kill()
        stack.web.wait()
    request = json.loads(first.removeprefix("data: "))["id"]
    stack.start_web()
    wait_for(stack.answers, RECOVERY_S)
    wait_for(lambda: f"{request}: broker_unavailable" in stack.log("worker.log"), 30)


def test_what_a_worker_had_taken_and_not_begun_when_it_died_is_answered_by_another(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis.from_url(redis_url(BROKER), decode_responses=True) as kept, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(connections, "connection", kept)
        workers = [stack.server.worker, stack.server.start_worker()]
        wait_for(lambda: [one.status for one in heartbeats.live_workers()] == ["ready"] * 2, 60)
        answer = pool.submit(stack.chat, seed=STUCK)
        wait_for(lambda: kept.exists(STUCK_AT), 30)
        workers.sort(key=lambda worker: str(worker.pid) == kept.get(STUCK_AT))
        stack.server.worker, dies = workers
        dies.kill()
        dies.wait()
        assert answer.result().status_code == 200


def test_no_request_is_answered_twice_when_its_worker_dies(stack: Stack) -> None:
    with httpx.stream(
        "POST", f"{stack.url}/v1/chat/completions", json=LONG | {"stream": True}, headers=stack.auth, timeout=60
    ) as running:
        lines = (line for line in running.iter_lines() if line)
        request = json.loads(next(lines).removeprefix("data: "))["id"]
        stack.server.worker.kill()
        stack.server.worker.wait()
        with redis.Redis.from_url(redis_url(BROKER)) as kept:
            assert kept.hlen("unacked") == 0  # what is in there would be given to another worker
        assert json.loads([*lines][-1].removeprefix("data: "))["error"]["code"] == "worker_lost"
    stack.server.worker = stack.server.start_worker()
    stack.server.wait_until_ready()
    assert stack.answers()
    assert request not in stack.log("worker.log")  # nobody took it up again, and nothing of it was finished

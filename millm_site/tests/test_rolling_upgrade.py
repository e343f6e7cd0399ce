"""A rolling upgrade, rehearsed as docs/operating.md says: under load, two workers and two webs are replaced."""

import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import redis

from inference.broker import connections, heartbeats
from inference.broker.heartbeats import Heartbeat
from inference.models import LanguageModel
from inference.tests.conftest import redis_url
from inference.tests.test_load import LONG, wait_for
from millm_site.tests.test_processes import MANAGE, Web, environment

BROKER = redis_url(10)  # a Redis database of its own: no other worker takes the requests
CLIENTS, PAUSE_S, TOKENS = 4, 0.8, 80
START_S, STOP_S = 60, 40


class Load:
    """Clients that ask all the time, half of them for streams, through a balancer that takes the webs in turn."""

    def __init__(self, api_key: str, webs: list[str]) -> None:
        self.webs = webs
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []
        self._unsent: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._lock, self._ended = threading.Lock(), threading.Event()
        no_reuse = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(headers={"Authorization": f"Bearer {api_key}"}, limits=no_reuse, timeout=60)
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> Self:
        for i in range(CLIENTS):
            self._pool.submit(self._go_on, i)
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._pool.shutdown()
        self._http.close()

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 60) -> None:
        def holds() -> bool:
            assert self.failures == []
            return bool(condition())

        wait_for(holds, timeout_s)

    def take_out(self, web: str) -> None:
        """Send a web no more, and return when all that was sent has reached it and some of that is not answered yet."""
        self.wait_for(lambda: self._is_out(web))

    def _is_out(self, web: str) -> bool:
        with self._lock:
            self.webs.remove(web)
        self.wait_for(lambda: not self._unsent[web])
        httpx.get(f"{web}/healthz")  # what came before it has been read when it is answered
        if not self._unanswered[web]:
            self.webs.append(web)
        return web not in self.webs

    def _go_on(self, i: int) -> None:
        while not self._ended.wait(PAUSE_S):
            i += 1
            with self._lock:
                web = self.webs[i % len(self.webs)]
                self._unsent[web] += 1
                self._unanswered[web] += 1
            try:
                wrong = self._ask(web, streamed=bool(i // 2 % 2))
            except Exception as error:
                wrong = repr(error)
            with self._lock:
                self._unanswered[web] -= 1
                self.answered[web] += not wrong
                self.failures += [f"{web}: {wrong}"] if wrong else []

    def _ask(self, web: str, *, streamed: bool) -> str:
        """What is wrong with the answer to a request; empty where it is whole."""

        def trace(event: str, _info: Any) -> None:
            if event == "http11.send_request_body.complete":
                with self._lock:
                    self._unsent[web] -= 1

        body: dict[str, Any] = LONG | {"max_tokens": TOKENS}
        body |= {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
        answer = self._http.post(f"{web}/v1/chat/completions", json=body, extensions={"trace": trace})
        told, end = answer.text, "data: [DONE]\n\n"
        if answer.status_code != 200 or (streamed and not told.endswith(end)):
            return f"{answer.status_code} {told[-500:]}"
        last = told.removesuffix(end).split("\n\n")[-2].removeprefix("data: ") if streamed else told
        generated = json.loads(last)["usage"]["completion_tokens"]
        return "" if generated == TOKENS else f"{generated} tokens of {TOKENS}"


class Deployment:
    """Webs and workers as `manage.py run` starts them, by name."""

    def __init__(self, folder: Path) -> None:
        self.own = {"REDIS_URL": BROKER}
        self.env, self.folder = environment() | self.own, folder
        self.webs: dict[str, Web] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_web(self, name: str) -> None:
        self.webs[name] = Web(self.own, self.folder / f"{name}.log")
        self.processes[name] = self.webs[name].process

    def start_worker(self, name: str) -> None:
        command = [*MANAGE, "run", "worker", "--name", name]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)

    def end(self, name: str) -> int:
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(timeout=STOP_S)

    def is_in_service(self, name: str) -> bool:
        web = self.webs[name]
        assert web.process.poll() is None, web.log.read_text()
        try:
            return httpx.get(f"{web.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def deployment(demo: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path)
    with redis.Redis.from_url(BROKER, decode_responses=True) as connection:
        monkeypatch.setattr(connections, "connection", connection)  # where these workers' heartbeats are
        yield deployment
        for process in deployment.processes.values():
            process.terminate()
        for process in deployment.processes.values():
            process.wait(timeout=STOP_S)
        connection.flushdb()


def names(holds: Callable[[Heartbeat], object]) -> set[str]:
    """Of the workers of whose heartbeats something holds."""
    return {beat.worker.partition("@")[0] for beat in heartbeats.live_workers() if holds(beat)}


def ready() -> set[str]:
    return names(lambda beat: beat.status == "ready")


def busy() -> set[str]:
    return names(lambda beat: beat.running)


def used() -> set[str]:
    return names(lambda beat: beat.generated_tokens)


def replace_worker(deployment: Deployment, load: Load, old: str, new: str) -> None:
    deployment.start_worker(new)
    load.wait_for(lambda: {old, new} <= ready(), START_S)
    load.wait_for(lambda: old in busy())
    assert deployment.end(old) == 0


def replace_web(deployment: Deployment, load: Load, old: str, new: str) -> None:
    deployment.start_web(new)
    load.wait_for(lambda: deployment.is_in_service(new), START_S)
    load.webs.append(deployment.webs[new].url)
    load.take_out(deployment.webs[old].url)
    assert deployment.end(old) in {0, -signal.SIGTERM}


def test_no_request_is_refused_or_fails_while_workers_and_webs_are_replaced(
    deployment: Deployment, api_key: str
) -> None:
    for number in "12":
        deployment.start_worker(f"old-worker-{number}")
        deployment.start_web(f"old-web-{number}")
    wait_for(lambda: len(ready()) == 2 and all(map(deployment.is_in_service, deployment.webs)), START_S)
    with Load(api_key, [web.url for web in deployment.webs.values()]) as load:
        load.wait_for(lambda: len(used()) == len(load.answered) == 2)
        subprocess.run([*MANAGE, "prepare"], env=deployment.env, check=True, capture_output=True)
        for number in "12":
            replace_worker(deployment, load, f"old-worker-{number}", f"new-worker-{number}")
        for number in "12":
            replace_web(deployment, load, f"old-web-{number}", f"new-web-{number}")
        load.answered.clear()
        load.wait_for(lambda: used() == {"new-worker-1", "new-worker-2"} and len(load.answered) == 2)
    assert load.failures == []

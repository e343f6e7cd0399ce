"""Web and worker on machines whose clocks are hours apart answer each other: their common clock is that of Redis."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import redis

from inference.models import LanguageModel
from inference.tests.conftest import Server, free_port, redis_url, start
from millm_site.tests.test_processes import environment

HOUR_S = 3600
BROKER = redis_url(8)  # a Redis database of its own, so that no other worker takes the requests
SHIFTED = ["inference.tests.shifted_clock", "django", "run"]


@pytest.fixture
def apart(demo: LanguageModel, tmp_path: Path) -> Iterator[Server]:
    """A web whose clock is an hour behind, and a worker whose clock is an hour ahead."""
    port = str(free_port())
    env = environment() | {"REDIS_URL": BROKER, "PORT": port, "INFERENCE_MODEL": demo.name, "INFERENCE_JOBS": "false"}
    worker = start([*SHIFTED, "worker"], env | {"CLOCK_SHIFT_S": str(HOUR_S)}, tmp_path / "worker.log")
    web = start([*SHIFTED, "web"], env | {"CLOCK_SHIFT_S": str(-HOUR_S)}, tmp_path / "web.log")
    server = Server(f"http://127.0.0.1:{port}", lambda **own: worker, worker, tmp_path)
    try:
        server.wait_until_ready()
        yield server
    finally:
        for process in (web, worker):
            process.send_signal(signal.SIGTERM)
        for process in (web, worker):
            process.wait(timeout=90)
        with redis.Redis.from_url(BROKER) as kept:
            kept.flushdb()


def test_what_a_web_asks_whose_clock_is_behind_is_answered_by_a_worker_whose_clock_is_ahead(
    apart: Server, api_key: str
) -> None:
    client = apart.openai(api_key)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="demo", messages=[], max_tokens=8)
    answer = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "Tell me something."}], max_tokens=8
    )
    assert answer.usage
    assert answer.usage.completion_tokens == 8
    assert len(client.embeddings.create(model="demo", input=["a", "b"]).data) == 2
    assert "too late" not in (apart.logs / "worker.log").read_text()
    assert httpx.get(f"{apart.url}/readyz").status_code == 200

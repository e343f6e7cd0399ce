"""A Redis whose memory is used up: requests are told so, and nothing waits for ever."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from inference.broker import connections, heartbeats
from inference.broker import inbox as module
from inference.broker.errors import RequestFailed
from inference.broker.heartbeats import Heartbeat
from inference.broker.inbox import inbox
from inference.broker.queues import enqueue
from inference.openai.endpoint import as_openai_error
from inference.tests.test_inbox import exchange, run
from millm_site import embedded


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator["redis.Redis"]:
    """A Redis of its own in the place of the session's."""
    address = f"unix://{tmp_path}/s"
    options = ["--port", "0", "--unixsocket", f"{tmp_path}/s", "--save", ""]
    process = subprocess.Popen([embedded._redis_server(), *options], stdout=subprocess.DEVNULL)
    with redis.Redis.from_url(address, decode_responses=True) as connection:
        deadline = time.monotonic() + 10
        while not Path(f"{tmp_path}/s").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        monkeypatch.setattr(connections, "connection", connection)
        settings.REDIS_URL = address
        yield connection
    process.terminate()
    process.wait(timeout=90)


def fill(connection: "redis.Redis", share: float) -> None:
    """Have it use this share of its memory; beyond 1 it takes nothing more."""
    connection.config_set("maxmemory", int(connection.info("memory")["used_memory"] / share))


def test_requests_are_refused_while_there_is_memory_for_those_under_way(small: "redis.Redis") -> None:
    fill(small, 0.85)
    with pytest.raises(RequestFailed, match="no memory left for more requests") as refused:
        enqueue("queue", lambda deadline: pytest.fail("it is not made"))
    response = as_openai_error(refused.value).response()
    assert (response.status_code, refused.value.code) == (503, "broker_full")
    assert int(response["Retry-After"]) >= 1
    heartbeats.write_heartbeat(Heartbeat("w", "m", "ready", "cpu", 0, 0, 1, 0))
    assert len(heartbeats.live_workers()) == 1


def test_a_request_that_was_under_way_when_the_memory_ended_is_told(
    small: "redis.Redis", monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.INFERENCE_HEARTBEAT_S = 0.04
    for name, value in {"SILENCE_S": 0.02, "SNAPSHOT_EVERY_S": 0.02, "BROKER_AWAY_S": 0.4, "SILENT_S": 0.2}.items():
        monkeypatch.setattr(module, name, value)

    async def test() -> None:
        inbox().expect("r")
        fill(small, 1.5)
        async for _event in exchange("r", model="m").events():
            raise AssertionError

    with pytest.raises(RequestFailed) as told:
        run(test)
    assert told.value.code in {"broker_unavailable", "no_worker"}


def test_that_redis_refuses_to_write_is_no_error_of_ours(small: "redis.Redis") -> None:
    fill(small, 1.5)
    with pytest.raises(redis.RedisError) as refused:
        small.set("more", "x")
    assert as_openai_error(refused.value).code == "broker_full"

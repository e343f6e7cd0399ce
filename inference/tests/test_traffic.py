"""What is counted of requests and tokens, a minute at a time, out of real requests; and heartbeats."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from typing import Any

import openai
import pytest
from django.conf import settings
from redis import ConnectionError as RedisAway

from inference.broker import connections, counters, heartbeats
from inference.broker.counters import Hour, Minute, last_hour
from inference.tests.conftest import Server
from inference.tests.test_load import wait_for

MESSAGES: list[Any] = [{"role": "user", "content": "Tell me something."}]


def settle() -> None:
    """Wait until nothing runs, and what ran is counted: tokens come with the heartbeat after."""
    wait_for(lambda: not any(worker.running for worker in heartbeats.live_workers()), 10)
    last, since = last_hour().total, time.monotonic()
    while time.monotonic() - since < 2 * settings.INFERENCE_HEARTBEAT_S:
        time.sleep(0.05)
        if (now := last_hour().total) != last:
            last, since = now, time.monotonic()


@pytest.fixture(scope="module")
def settled(processes: Server) -> None:
    """Other tests may have ended just now."""
    settle()


@pytest.fixture
def counted(server: Server, settled: None) -> Callable[[], Minute]:
    """What was counted since the test began."""
    before = last_hour().total

    def since() -> Minute:
        return Minute(*(now - then for now, then in zip(astuple(last_hour().total), astuple(before), strict=True)))

    return since


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[openai.OpenAI]:
    with server.openai(api_key) as client:
        yield client


def test_an_answer_is_counted_with_its_tokens_and_the_time_to_its_first(
    client: openai.OpenAI, counted: Callable[[], Minute]
) -> None:
    began = time.perf_counter()
    answer = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=12)
    took_s = time.perf_counter() - began
    assert answer.usage is not None
    tokens = answer.usage.completion_tokens
    wait_for(lambda: counted().answered == 1 and counted().tokens == tokens, 5)
    since = counted()
    assert (since.failed, since.cancelled, since.first_tokens) == (0, 0, 1)
    assert 0 < since.first_token_s < took_s


def test_a_stream_of_several_choices_is_one_request(client: openai.OpenAI, counted: Callable[[], Minute]) -> None:
    chunks = client.chat.completions.create(
        model="demo",
        messages=MESSAGES,
        max_tokens=5,
        n=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    *_, last = chunks
    assert last.usage is not None
    tokens = last.usage.completion_tokens
    wait_for(lambda: counted().tokens == tokens and counted().answered == 1, 5)
    assert counted().first_tokens == 1


def test_a_request_that_the_worker_refuses_is_refused(client: openai.OpenAI, counted: Callable[[], Minute]) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=100_000)
    wait_for(lambda: counted().refused == 1, 5)
    since = counted()
    assert (since.answered, since.failed, since.first_tokens, since.tokens) == (0, 0, 0, 0)


def test_a_client_that_goes_away_cancelled(client: openai.OpenAI, counted: Callable[[], Minute]) -> None:
    stream_ = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1000, stream=True)
    next(stream_)
    next(stream_)
    stream_.close()
    wait_for(lambda: counted().cancelled == 1, 10)
    assert (counted().answered, counted().failed, counted().first_tokens) == (0, 0, 1)
    settle()


def test_embeddings_have_no_first_token(client: openai.OpenAI, counted: Callable[[], Minute]) -> None:
    client.embeddings.create(model="demo", input="a whale")
    wait_for(lambda: counted().answered == 1, 5)
    assert (counted().first_tokens, counted().tokens) == (0, 0)


def test_the_running_minute_is_completed_by_its_share_of_the_one_before() -> None:
    minutes = [Minute() for _ in range(57)] + [Minute(tokens=120), Minute(tokens=600), Minute(tokens=60)]
    assert Hour(minutes, elapsed_s=45).tokens_per_second[-3:] == [2, 10, (600 / 4 + 60) / 60]


def test_the_hour_has_sixty_minutes_the_running_one_last_and_its_counters_go(monkeypatch: pytest.MonkeyPatch) -> None:
    began = 60.0 * 60 * 24 * 365  # long ago: nobody else counts there
    for minute, tokens in ((0, 1), (1, 2), (60, 4)):
        monkeypatch.setattr(time, "time", lambda at=began + 60 * minute: at)
        assert counters.tokens_generated(tokens)
    monkeypatch.setattr(time, "time", lambda: began + 60 * 60 + 12)
    hour = last_hour()
    assert [minute.tokens for minute in hour.minutes] == [2, *[0] * 58, 4]
    assert hour.elapsed_s == 12
    assert hour.total.mean_first_token_s is None
    keys = [counters._key(int(began) // 60 + minute) for minute in (0, 1, 60)]
    assert all(0 < connections.connection.ttl(key) <= 2 * 60 * 60 for key in keys)
    connections.connection.delete(*keys)


def test_of_hundreds_of_requests_that_end_at_once_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    began = 60.0 * 60 * 24 * 400  # long ago: nobody else counts there
    monkeypatch.setattr(time, "time", lambda: began)

    async def end() -> None:
        await asyncio.gather(*(counters.request_ended("cancelled", None) for _ in range(500)))

    asyncio.run(end())
    assert last_hour().total.cancelled == 500
    connections.connection.delete(counters._key(int(began) // 60))


def test_without_redis_nothing_is_counted_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> None:
        class Away:
            def pipeline(self, transaction: bool) -> None:
                raise RedisAway("away")

        monkeypatch.setattr(connections, "async_connection", Away)
        await counters.request_ended("answered", 0.1)

    asyncio.run(away())
    monkeypatch.setattr(connections.connection, "hincrby", lambda *_args: (_ for _ in ()).throw(RedisAway("away")))
    counters.profile_activated("api")
    monkeypatch.setattr(
        connections.connection, "pipeline", lambda transaction: (_ for _ in ()).throw(RedisAway("away"))
    )
    assert not counters.tokens_generated(5)


def test_a_worker_tells_its_memory(server: Server) -> None:
    [worker] = [worker for worker in heartbeats.live_workers() if worker.status == "ready"]
    assert 50 * 2**20 < worker.memory_bytes < 2**34
    assert worker.gpu_bytes is None or worker.device.startswith("cuda")


def test_heartbeats_of_older_and_newer_workers_are_read() -> None:
    beat = heartbeats.Heartbeat("w", "demo", "ready", "cpu", 1, 2, 16, 300)
    text = {name: value for name, value in vars(beat).items() if name not in {"memory_bytes", "gpu_bytes"}}
    assert heartbeats.Heartbeat.parse(json.dumps(text)) == beat
    assert heartbeats.Heartbeat.parse(json.dumps(text | {"temperature": 60})) == beat

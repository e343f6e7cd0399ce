"""What a request is told before any worker answers it."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from inference.broker import connections, heartbeats
from inference.broker.errors import RequestFailed
from inference.broker.events import write_events
from inference.broker.exchange import first_event
from inference.broker.heartbeats import Heartbeat
from inference.broker.inbox import inbox
from inference.broker.messages import EmbedMessage
from inference.broker.queues import enqueue
from inference.interface import Event
from inference.openai.answers import Choice
from inference.openai.chat_answer import ChatAnswer
from inference.openai.endpoint import as_openai_error
from inference.openai.views import _event
from inference.tests.test_inbox import exchange


@pytest.fixture(autouse=True)
def no_other_worker() -> Iterator[None]:
    """None that an earlier test left behind, and none is left for a later one."""
    heartbeats.clear_heartbeat("w")
    yield
    heartbeats.clear_heartbeat("w")


def test_beyond_the_bound_of_the_queue_a_request_is_told_to_come_back(settings: Any) -> None:
    settings.INFERENCE_MAX_QUEUE = 3
    queue = f"test-{uuid.uuid4().hex}"
    message = partial(EmbedMessage, request_id="r", inbox="i", version="v", prompts=[])
    for _ in range(3):
        enqueue(queue, lambda deadline: message(deadline=deadline))
    with pytest.raises(RequestFailed, match="3 requests are waiting") as refused:
        enqueue(queue, lambda deadline: message(deadline=deadline))
    response = as_openai_error(refused.value).response()
    assert response.status_code == 429
    assert int(response["Retry-After"]) >= 1
    assert connections.connection.delete(queue) == 1


def beat() -> None:
    """A worker that serves the model `m`, alive for a while."""
    heartbeats.write_heartbeat(Heartbeat("w", "m", "ready", "cpu", 0, 0, 1, 0))
    connections.connection.expire("millm:worker:w", 9)


def events_of(timeout_s: float, worker: str | None, *, served: bool) -> tuple[str, float]:
    """How a request ends from whose worker nothing is heard, and after how long."""

    async def read() -> str:
        if served:
            beat()
        inbox().expect("r")
        if worker:
            write_events([(inbox().key, Event("r", "claimed", {"worker": worker}))])
        with pytest.raises(RequestFailed) as ended:
            [event async for event in exchange("r", timeout_s, "m").events()]
        return str(ended.value.code)

    began = time.monotonic()
    return asyncio.run(read()), time.monotonic() - began


def test_a_request_that_nobody_answers_ends_by_its_timeout() -> None:
    code, taken_s = events_of(1.2, None, served=True)
    assert code == "timeout"
    assert 1 < taken_s < 30


def test_a_request_that_nobody_can_take_ends_soon() -> None:
    assert events_of(60, None, served=False)[0] == "no_worker"


def test_a_request_whose_worker_is_silent_ends() -> None:
    assert events_of(60, "gone", served=True)[0] == "worker_lost"


def test_a_long_wait_is_broken_by_comments_in_a_stream_only(settings: Any) -> None:
    settings.INFERENCE_KEEPALIVE_S = 0.6
    beat()

    kinds: list[str] = []

    async def read() -> None:
        inbox().expect("k")
        async for event in exchange("k", 2.2, "m").events():
            kinds.append(event.kind)  # noqa: PERF401  (until it is raised)

    with pytest.raises(RequestFailed, match="not finished within"):
        asyncio.run(read())
    assert kinds == ["waiting", "waiting"]
    answer = ChatAnswer("k", "demo", "fp", [Choice()])
    assert _event(answer, Event("k", "waiting")) == b": waiting\n\n"

    async def first(*, waits: bool) -> str:
        inbox().expect("k")
        events = exchange("k", 1.2, "m").events()
        return (await first_event(events, waits=waits)).kind

    assert asyncio.run(first(waits=True)) == "waiting"
    with pytest.raises(RequestFailed, match="not finished within"):
        asyncio.run(first(waits=False))

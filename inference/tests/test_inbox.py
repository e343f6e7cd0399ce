"""The inbox of a web process: what it hears, what it keeps, and what it makes of silence."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis
from prometheus_client import generate_latest

from inference import metrics
from inference.broker import claims, connections, heartbeats
from inference.broker import inbox as module
from inference.broker.errors import RequestFailed
from inference.broker.events import INBOX_KEPT_S, write_events
from inference.broker.exchange import Exchange
from inference.broker.heartbeats import Heartbeat
from inference.broker.inbox import inbox, is_connected
from inference.interface import Event
from inference.openai.endpoint import as_openai_error
from inference.openai.selection import Selection
from inference.tests.test_metrics import read

MODEL = "inbox-test"
PATIENCE_S = 20
FINISHED = {"index": 0, "reason": "stop", "completion_tokens": 1}


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    """One that serves MODEL; looks and silences are short, and three looks are enough."""
    settings.INFERENCE_HEARTBEAT_S = 0.04
    for name, value in {"SILENCE_S": 0.02, "SNAPSHOT_EVERY_S": 0.02, "BLOCK_MS": 20}.items():
        monkeypatch.setattr(module, name, value)
    heartbeats.write_heartbeat(Heartbeat("w", MODEL, "ready", "cpu", 0, 0, 1, 0))
    connections.connection.expire("millm:worker:w", 60)
    yield
    heartbeats.clear_heartbeat("w")
    heartbeats.clear_heartbeat("unreadable")


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    async def within_bounds() -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await test()

    return asyncio.run(within_bounds())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def tell(request_id: str, kind: str, **data: Any) -> None:
    write_events([(inbox().key, Event(request_id, kind, data))])


def delta(request_id: str, text: str = "a", logprobs: int = 0) -> tuple[str, Event]:
    data: dict[str, Any] = {"index": 0, "text": text, "token_ids": [1]}
    if logprobs:
        entry = {"token": "a", "logprob": -1.0}
        data["logprobs"] = [entry | {"top_logprobs": [entry] * logprobs}]
    return inbox().key, Event(request_id, "delta", data)


def exchange(request_id: str, timeout_s: float = PATIENCE_S, model: str = MODEL) -> Exchange:
    return Exchange(request_id, Selection(model, model, "v", model, None, None), timeout_s=timeout_s)


async def kinds(request_id: str) -> list[str]:
    return [event.kind async for event in exchange(request_id).events()]


# --- silence ---


def test_a_worker_that_one_look_misses_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a broker that stalled: heartbeats have expired there, and workers say them anew."""
    looks, live = 0, heartbeats.async_live_workers

    async def at_times() -> list[Heartbeat]:
        nonlocal looks
        looks += 1
        return await live() if looks % 2 else []

    async def test() -> list[str]:
        inbox().expect("r")
        tell("r", "claimed", worker="w")
        monkeypatch.setattr(heartbeats, "async_live_workers", at_times)
        reading = asyncio.create_task(kinds("r"))
        await until(lambda: looks > 20 or reading.done())
        tell("r", "finished", **FINISHED)
        return await reading

    assert run(test) == ["finished"]


def test_a_worker_that_is_gone_from_all_looks_is_lost() -> None:
    async def test() -> None:
        inbox().expect("r")
        tell("r", "claimed", worker="another")
        await kinds("r")

    with pytest.raises(RequestFailed) as lost:
        run(test)
    assert (as_openai_error(lost.value).status, lost.value.code) == (503, "worker_lost")
    assert f"has not been heard of for {heartbeats.silence_s():g} second" in str(lost.value)


def test_whoever_asks_for_a_model_that_nobody_serves_is_refused_by_a_look_of_now() -> None:
    async def test() -> None:
        await inbox().serving(MODEL)
        with pytest.raises(RequestFailed, match="No inference worker serves this model") as refused:
            await inbox().serving("unserved")
        assert as_openai_error(refused.value).status == 503
        heartbeats.write_heartbeat(Heartbeat("w", "unserved", "ready", "cpu", 0, 0, 1, 0))
        await inbox().serving("unserved")  # whatever the inbox saw last

    run(test)


def test_a_process_that_was_held_up_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own clock has gone on, and who was silent was itself."""
    monkeypatch.setattr(module, "BROKER_AWAY_S", 0.2)
    monkeypatch.setattr(module, "SILENT_S", 0.1)

    async def test() -> list[str]:
        inbox().expect("r")
        tell("r", "claimed", worker="w")
        reading = asyncio.create_task(kinds("r"))
        await asyncio.sleep(0.1)
        for _ in range(3):
            time.sleep(0.6)
            await asyncio.sleep(0.1)
        tell("r", "finished", **FINISHED)
        return await reading

    assert run(test) == ["finished"]


def test_a_broker_that_stays_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BROKER_AWAY_S", 0.2)
    monkeypatch.setattr(module, "SILENT_S", 0.1)

    async def away() -> None:
        raise redis.ConnectionError("away")

    async def test() -> None:
        inbox().expect("r")
        monkeypatch.setattr(inbox(), "_read", away)
        monkeypatch.setattr(heartbeats, "async_live_workers", away)
        await kinds("r")

    with pytest.raises(RequestFailed) as told:
        run(test)
    assert told.value.code == "broker_unavailable"


def test_after_another_broker_whose_clock_is_behind_answers_are_read() -> None:
    async def test() -> list[str]:
        inbox().expect("first")
        connections.connection.xadd(
            inbox().key, {"events": '[["first", "finished", {"index": 0}]]'}, id="99999999999999-0"
        )
        assert await kinds("first") == ["finished"]
        connections.connection.delete(inbox().key)
        inbox()._broker = "another"
        await until(lambda: inbox()._broker != "another")
        inbox().expect("second")
        tell("second", "finished", **FINISHED)
        return await kinds("second")

    assert run(test) == ["finished"]


# --- bounds ---


def test_what_a_client_does_not_read_is_dropped_and_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKLOG", 100)

    async def test() -> None:
        inbox().expect("slow")
        inbox().expect("beside")
        reading = asyncio.create_task(kinds("beside"))
        events = exchange("slow").events()
        tell("slow", "started", index=0)
        assert (await anext(events)).kind == "started"
        for _ in range(3):  # 63 tokens and alternatives each
            write_events([delta("slow", logprobs=20)] * 3)
        await until(lambda: claims.is_cancelled("slow"))
        assert inbox()._replies["slow"]._unread.qsize() == 1
        with pytest.raises(RequestFailed) as ended:
            await anext(events)
        assert ended.value.code == "client_too_slow"
        assert as_openai_error(ended.value).type == "invalid_request_error"
        assert not claims.is_cancelled("beside")
        tell("beside", "finished", **FINISHED)
        assert await reading == ["finished"]

    run(test)


def test_whoever_reads_is_given_all_that_came_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when this process was held up for a while: that is no fault of the client's."""
    monkeypatch.setattr(module, "BACKLOG", 100)

    async def test() -> list[str]:
        inbox().expect("r")
        for _ in range(20):
            write_events([delta("r")] * 20)
        tell("r", "finished", **FINISHED)
        return await kinds("r")

    assert run(test) == ["delta"] * 400 + ["finished"]


def test_the_pace_of_an_answer_is_that_of_its_coming_not_of_its_reader() -> None:
    def between_tokens() -> float:
        return read(generate_latest().decode())["millm_inter_token_seconds_sum", ""]

    async def test() -> float:
        heard: list[Event] = []
        pace = metrics.Pace(0)

        def hear(event: Event) -> None:
            heard.append(event)
            pace.observe(event)

        inbox().expect("r", hear)
        before = between_tokens()
        for _ in range(5):
            write_events([delta("r")])
        tell("r", "finished", **FINISHED)
        await until(lambda: len(heard) == 6)
        told = between_tokens() - before
        await kinds("r")
        assert between_tokens() - before == told
        return told

    assert 0 < run(test) < 1


# --- mishaps ---


def test_a_heartbeat_that_cannot_be_read_hides_nothing() -> None:
    connections.connection.sadd(heartbeats.WORKERS, "unreadable")
    connections.connection.set("millm:worker:unreadable", '{"worker": "unreadable"}', ex=60)
    assert "w" in {one.worker for one in heartbeats.live_workers()}

    async def test() -> list[str]:
        inbox().expect("r")
        await inbox().serving(MODEL)
        tell("r", "finished", **FINISHED)
        return await kinds("r")

    assert run(test) == ["finished"]


def test_events_that_cannot_be_read_end_what_waits_and_nothing_else() -> None:
    async def test() -> list[str]:
        inbox().expect("before")
        connections.connection.xadd(inbox().key, {"events": '[["before", "delta"]]'})
        with pytest.raises(RequestFailed, match="could not read") as ended:
            await kinds("before")
        assert as_openai_error(ended.value).status == 500
        inbox().expect("after")
        tell("after", "finished", **FINISHED)
        return await kinds("after")

    assert run(test) == ["finished"]


def test_an_event_that_cannot_be_read_ends_its_own_request_only() -> None:
    """As one of a worker of another version."""

    async def test() -> list[str]:
        inbox().expect("odd")
        inbox().expect("beside")
        reading = asyncio.create_task(kinds("beside"))
        write_events([(inbox().key, Event("odd", "delta", {})), delta("beside")])
        with pytest.raises(RequestFailed, match="could not read"):
            await kinds("odd")
        await until(lambda: claims.is_cancelled("odd"))
        tell("beside", "finished", **FINISHED)
        return await reading

    assert run(test) == ["delta", "finished"]


def test_an_unexpected_error_does_not_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    async def broken() -> list[Heartbeat]:
        nonlocal tried
        tried += 1
        raise ValueError("unexpected")

    async def test() -> list[str]:
        inbox().expect("r")
        monkeypatch.setattr(heartbeats, "async_live_workers", broken)
        await until(lambda: tried > 2)
        assert is_connected()
        tell("r", "finished", **FINISHED)
        return await kinds("r")

    assert run(test) == ["finished"]


def test_a_cancellation_that_redis_did_not_hear_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel, tries = claims.cancel, 0

    def away_at_first(*request_ids: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise redis.ConnectionError("away")
        cancel(*request_ids)

    async def test() -> None:
        monkeypatch.setattr(claims, "cancel", away_at_first)
        await inbox().cancel("later")
        assert not claims.is_cancelled("later")
        await until(lambda: claims.is_cancelled("later"))

    run(test)


# --- what Redis keeps ---


@pytest.mark.parametrize("entries", [1, 3, 200])
def test_redis_keeps_nothing_that_was_read(entries: int) -> None:
    async def test() -> None:
        inbox().expect("r")
        for _ in range(entries - 1):
            write_events([delta("r", "x" * 1000)])
        tell("r", "finished", **FINISHED)
        await kinds("r")
        await until(lambda: connections.connection.xlen(inbox().key) == 0)

    run(test)


def test_redis_does_not_keep_large_events_until_there_is_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_MS", 60_000)

    async def test() -> None:
        inbox().expect("r")
        write_events([delta("r", "x" * 2 * module.TRIM_BYTES)])
        await until(lambda: connections.connection.xlen(inbox().key) == 0)
        tell("r", "finished", **FINISHED)
        assert await kinds("r") == ["delta", "finished"]

    run(test)


def test_the_inbox_of_a_process_that_is_gone_does_not_stay() -> None:
    async def test() -> str:
        inbox().expect("r")
        tell("r", "finished", **FINISHED)
        await until(lambda: len(inbox()._snapshots) > 2)
        return inbox().key

    assert 0 < connections.connection.ttl(run(test)) <= INBOX_KEPT_S


def test_an_echo_that_is_larger_than_what_may_wait_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKLOG", 10)

    async def test() -> list[str]:
        inbox().expect("r")
        tell("r", "started", index=0, prompt_tokens=1, cached_tokens=0, echo="x" * 4000)
        tell("r", "finished", **FINISHED)
        return await kinds("r")

    assert run(test) == ["started", "finished"]

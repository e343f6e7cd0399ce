"""One API key leaves places for the others, whichever web its requests come through."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from inference.broker import connections, shares
from inference.broker import inbox as module
from inference.broker.errors import RequestFailed
from inference.broker.heartbeats import Heartbeat
from inference.broker.inbox import inbox
from inference.broker.shares import HOLDER, Shares
from inference.openai.endpoint import as_openai_error
from inference.tests.conftest import Server
from inference.tests.test_inbox import run
from inference.tests.test_load import LONG, running, wait_for

WORKERS = [Heartbeat("w", "m", "ready", "cpu", 0, 0, 8, 0)]  # 32 places
HELD = "millm:held:key:test"


@pytest.fixture(autouse=True)
def holder() -> Iterator[None]:
    token = HOLDER.set("key:test")
    connections.connection.delete(HELD)
    yield
    HOLDER.reset(token)
    connections.connection.delete(HELD)


def test_beyond_its_share_a_key_is_told_to_come_back(settings: Any) -> None:
    settings.INFERENCE_KEY_SHARE = 0.5

    async def test() -> None:
        first, second = Shares(), Shares()  # of two webs
        await first.take("a", 10, WORKERS)
        await second.take("b", 6, WORKERS)
        with pytest.raises(RequestFailed, match="16 answers of yours are in progress") as refused:
            await first.take("c", 1, WORKERS)
        told = as_openai_error(refused.value)
        assert (told.status, told.code) == (429, "share_used_up")
        assert int(told.response()["Retry-After"]) >= 1
        await first.release("c")  # which holds nothing
        await second.release("b")
        await first.take("c", 6, WORKERS)
        HOLDER.set("key:other")
        await first.take("d", 16, WORKERS)
        await first.release("d")

    run(test)


def test_one_request_that_is_larger_than_the_share_is_taken_alone(settings: Any) -> None:
    settings.INFERENCE_KEY_SHARE = 0.1

    async def test() -> None:
        await Shares().take("a", 16, WORKERS)
        with pytest.raises(RequestFailed):
            await Shares().take("b", 1, WORKERS)

    run(test)


def test_a_request_whose_command_is_sent_twice_counts_once(settings: Any) -> None:
    """A connection may break between Redis's work and its answer."""
    settings.INFERENCE_KEY_SHARE = 0.5

    async def test() -> None:
        await Shares().take("a", 10, WORKERS)
        await Shares().take("a", 10, WORKERS)
        await Shares().take("b", 6, WORKERS)

    run(test)


def test_what_a_web_holds_counts_while_it_lives_and_not_longer(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.INFERENCE_KEY_SHARE = 0.5
    monkeypatch.setattr(shares, "LEASE_S", 0.4)
    monkeypatch.setattr(module, "SNAPSHOT_EVERY_S", 0.05)

    async def lives() -> None:
        await inbox().shares.take("a", 16, WORKERS)
        await asyncio.sleep(0.8)
        with pytest.raises(RequestFailed):
            await Shares().take("b", 1, WORKERS)

    async def after() -> None:
        await Shares().take("b", 16, WORKERS)

    run(lives)
    time.sleep(0.6)
    run(after)


def test_what_a_killed_web_held_counts_no_longer_where_the_clock_of_redis_is_set_back(settings: Any) -> None:
    settings.INFERENCE_KEY_SHARE = 0.5

    async def test() -> None:
        await Shares().take("a", 16, WORKERS)
        for member, ends_ms in connections.connection.zscan_iter(HELD):
            connections.connection.zadd(HELD, {member: ends_ms + 3_600_000})  # as that clock sees it then
        await Shares().take("b", 16, WORKERS)

    run(test)


def test_others_are_answered_while_one_key_has_all_that_it_may_have(server: Server, api_key: str, demo: Any) -> None:
    from django.contrib.auth import get_user_model

    from millm_site.models import APIKey

    other = APIKey.objects.create(get_user_model().objects.create_superuser("other", password="x"), name="other")[1]

    def ask(key: str, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{server.url}/v1/chat/completions", json=LONG | body, headers=headers, timeout=120)

    wait_for(lambda: running() == 0, 20)
    with ThreadPoolExecutor(8) as pool:
        greedy = [pool.submit(ask, api_key, n=16, max_tokens=300) for _ in range(8)]
        wait_for(lambda: sum(one.done() for one in greedy) >= 5, 30)  # 3 of them, with 48 of 64 places, are taken
        refused = [one.result() for one in greedy if one.done()]
        assert {answer.status_code for answer in refused} == {429}
        assert {json.loads(answer.text)["error"]["code"] for answer in refused} == {"share_used_up"}
        assert ask(other, max_tokens=5).status_code == 200
        assert sorted(one.result().status_code for one in greedy) == [200] * 3 + [429] * 5
    assert ask(api_key, max_tokens=5).status_code == 200

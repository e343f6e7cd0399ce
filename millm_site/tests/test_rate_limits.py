"""A key with a limit gets 429 beyond it, wherever it asks; without Redis nobody is refused by this."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.db import connection

from inference.broker import connections
from millm_site.accounts import rate_limits
from millm_site.models import APIKey
from millm_site.tests.test_api_keys import DOORS, answer_to, told

NOON = 1_764_072_000 // 60 * 60


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, own_redis: "redis.Redis") -> Any:
    """A minute of the tests' own, 20 seconds old."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(rate_limits, "time", SimpleNamespace(time=lambda: NOON + seconds))

    set_to(20)
    return set_to


def limit(requests: int | None) -> None:
    APIKey.objects.update(requests_per_minute=requests)


@pytest.mark.parametrize("path", DOORS)
def test_beyond_its_limit_a_key_gets_429_until_the_next_minute(api_key: str, clock: Any, path: str) -> None:
    limit(2)
    assert [answer_to(api_key, path).status_code for _ in range(3)] == [200, 200, 429]
    refused = answer_to(api_key, path)
    assert refused["Retry-After"] == "40"
    assert told(refused).startswith("This API key may make 2 requests a minute.")
    clock(60)
    assert answer_to(api_key, path).status_code == 200


def test_the_error_of_v1_is_openais(api_key: str, clock: Any) -> None:
    limit(1)
    answer_to(api_key, "/v1/models")
    error = answer_to(api_key, "/v1/models").json()["error"]
    assert (error["code"], error["type"], error["param"]) == ("rate_limit_exceeded", "rate_limit_error", None)


def test_the_doors_share_one_count(api_key: str, clock: Any) -> None:
    limit(2)
    statuses = [answer_to(api_key, path).status_code for path in [*DOORS, *DOORS]]
    assert statuses == [200, 200, 429, 429]


def test_requests_at_once_are_no_more_than_the_limit(api_key: str, clock: Any) -> None:
    limit(5)

    def ask(number: int) -> int:
        try:
            return int(answer_to(api_key, DOORS[number % 2]).status_code)
        finally:
            connection.close()  # of this thread

    with ThreadPoolExecutor(8) as threads:
        statuses = Counter(threads.map(ask, range(24)))
    assert statuses == {200: 5, 429: 19}


def test_each_key_has_its_own_count(api_key: str, clock: Any) -> None:
    other = APIKey.objects.issue(APIKey.objects.get().user, "other", requests_per_minute=1)[1]
    assert [answer_to(other).status_code for _ in range(2)] == [200, 429]
    assert answer_to(api_key).status_code == 200


def test_the_counts_go_by_themselves(api_key: str, clock: Any) -> None:
    limit(5)
    answer_to(api_key)
    [counter] = connections.connection.keys("millm:requests:*")
    assert 60 < connections.connection.ttl(counter) <= 120


def test_without_a_limit_nothing_is_counted(api_key: str, clock: Any) -> None:
    answer_to(api_key)
    assert connections.connection.keys("millm:requests:*") == []


def test_without_redis_nobody_is_refused_by_this(api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(1)
    away = redis.Redis.from_url("unix:///nowhere/redis.sock")
    monkeypatch.setattr(connections, "connection", away)
    began = time.monotonic()
    assert [answer_to(api_key).status_code for _ in range(3)] == [200, 200, 200]
    assert time.monotonic() - began < 5
    away.close()

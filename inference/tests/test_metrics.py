"""/metrics, as Prometheus reads it: of the web, and of a worker at its own port."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from inference import metrics
from inference.broker import connections, heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import Server, free_port
from inference.tests.test_load import LONG, wait_for

NAMED = re.compile(r"^# HELP (millm_\w+)", re.MULTILINE)
CHAT = {"model": "demo:ocean", "messages": [{"role": "user", "content": "Tell me something."}], "max_tokens": 12}


def read(text: str) -> dict[tuple[str, str], float]:
    """{(name, label values between commas): value}"""
    families = text_string_to_metric_families(text)
    return {(one.name, ",".join(one.labels.values())): one.value for family in families for one in family.samples}


def figures(url: str) -> dict[tuple[str, str], float]:
    answer = httpx.get(url, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    return read(answer.text)


Grown = Callable[..., float]


@pytest.fixture
def grown(server: Server) -> Grown:
    """By how much a figure of the web has grown since the test began."""
    before = figures(f"{server.url}/metrics")

    def since(name: str, labels: str = "") -> float:
        return figures(f"{server.url}/metrics")[name, labels] - before.get((name, labels), 0)

    return since


def ask(server: Server, key: str, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=CHAT | body, headers=headers, timeout=30)


def test_a_chat_is_in_the_figures_of_the_web(server: Server, api_key: str, grown: Grown) -> None:
    ask(server, api_key).raise_for_status()
    grew, after = grown, figures(f"{server.url}/metrics")
    wait_for(lambda: grown("millm_requests_total", "answered") == 1, 5)  # once all of it is sent
    assert grew("millm_profile_requests_total", "ocean") == 1
    assert grew("millm_first_token_seconds_count") == 1
    assert grew("millm_inter_token_seconds_count") > 5
    assert grew("millm_prompt_tokens_total") > 3
    assert grew("millm_http_requests_total", "v1,POST,200") == 1
    assert after["millm_broker_up", ""] == 1
    assert after["millm_workers", "demo,ready"] == 1
    assert ("millm_queue_length", LanguageModel(name="demo").queue) in after


def test_whose_fault_it_was_that_a_request_was_not_answered(server: Server, api_key: str, grown: Grown) -> None:
    assert ask(server, "sk-wrong").status_code == 401
    assert ask(server, api_key, temperature=9).status_code == 400
    assert ask(server, api_key, max_tokens=100_000).status_code == 400  # the worker's word
    wait_for(lambda: grown("millm_requests_total", "refused") == 3, 5)
    LanguageModel.objects.update(is_current=False)
    assert ask(server, api_key, model="none").status_code == 503
    wait_for(lambda: grown("millm_requests_total", "failed") == 1, 5)
    assert grown("millm_requests_total", "answered") == 0


def test_a_client_that_goes_away_is_counted_as_cancelled(server: Server, api_key: str, grown: Grown) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.stream(
        "POST", f"{server.url}/v1/chat/completions", json=LONG | {"stream": True}, headers=headers, timeout=30
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
    wait_for(lambda: grown("millm_requests_total", "cancelled") == 1, 10)


def test_an_activation_by_a_command_is_told_by_every_web(server: Server, grown: Grown) -> None:
    for _ in range(2):  # at the second it is active already: nothing changes
        call_command("activate_profile", "ocean")
    assert grown("millm_activations_total", "command") == 1


def test_a_worker_tells_of_its_engine_at_a_port_of_its_own(server: Server, api_key: str) -> None:
    """The worker has a model of its own, so that all that is asked of this model is asked of it."""
    port = free_port()
    LanguageModel.objects.register(LanguageModel.objects.get(name="demo").source, name="own", anywhere=True)
    worker = server.start_worker(METRICS_PORT=str(port), INFERENCE_MODEL="own")

    def told(name: str) -> float:
        try:
            return figures(f"http://127.0.0.1:{port}/metrics").get((name, ""), -1)
        except httpx.ConnectError:
            return -1

    try:
        wait_for(lambda: any(beat.serves("own") for beat in heartbeats.live_workers()), 60)
        idle = {"millm_batch_places": 16, "millm_batch_requests": 0, "millm_generated_tokens_total": 0}
        assert {name: told(name) for name in idle} == idle
        assert told("millm_cache_use_ratio") < 0.01
        made = sum(ask(server, api_key, model="own").json()["usage"]["completion_tokens"] for _ in range(2))
        wait_for(lambda: told("millm_generated_tokens_total") == made, 5)
        body, headers = LONG | {"model": "own", "stream": True}, {"Authorization": f"Bearer {api_key}"}
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=30
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            wait_for(lambda: told("millm_batch_requests") == 1, 5)
            wait_for(lambda: 0.01 < told("millm_cache_use_ratio") < 0.2, 10)  # of 32,768 tokens
    finally:
        worker.terminate()
        worker.wait(timeout=60)


def test_with_a_token_only_those_who_have_it_read_them(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "METRICS_TOKEN", "s3cret")
    assert Client().get("/metrics").status_code == 401
    assert Client().get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert Client().get("/metrics", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_every_figure_of_the_web_is_documented(server: Server) -> None:
    served = {name for name in NAMED.findall(httpx.get(f"{server.url}/metrics").text) if not name.endswith("_created")}
    assert len(served) > 10
    told = (settings.BASE_DIR / "docs/operating.md").read_text()
    assert [name for name in served if name.removeprefix("millm_worker") not in told] == []


def test_postgresql_is_not_asked(server: Server, django_assert_num_queries: Any) -> None:
    """It may be away: then these figures are looked at."""
    with django_assert_num_queries(0):
        told = read(Client().get("/metrics").content.decode())
    assert ("millm_queue_length", LanguageModel(name="demo").queue) in told


def test_without_redis_it_says_so(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("unix:///nowhere/redis.sock")
    monkeypatch.setattr(connections, "connection", away)
    assert read(Client().get("/metrics").content.decode())["millm_broker_up", ""] == 0
    away.close()


def test_profiles_beyond_a_bound_share_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_profiles", set())
    labels = {metrics.profile_label(f"p{i}") for i in range(1000)} | {metrics.profile_label(None)}
    assert len(labels) == metrics.PROFILES + 2
    assert metrics.profile_label("p0") == "p0"
    assert metrics.profile_label("p999") == "other"

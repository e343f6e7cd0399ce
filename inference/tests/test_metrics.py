"""/metrics, as Prometheus reads it: of the web, and of a worker at its own port."""

import time
from typing import Any

import httpx
import pytest
import redis
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from inference import metrics, stream
from inference.tests.conftest import Server, free_port
from profiles.models import Profile

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


def test_a_chat_is_in_the_figures_of_the_web(server: Server, api_key: str) -> None:
    before = figures(f"{server.url}/metrics")
    headers = {"Authorization": f"Bearer {api_key}"}
    httpx.post(f"{server.url}/v1/chat/completions", json=CHAT, headers=headers, timeout=30).raise_for_status()
    after = figures(f"{server.url}/metrics")

    def grew(name: str, labels: str = "") -> float:
        return after[name, labels] - before.get((name, labels), 0)

    assert grew("millm_requests_total", "answered") == 1
    assert grew("millm_profile_requests_total", "ocean") == 1
    assert grew("millm_first_token_seconds_count") == 1
    assert grew("millm_inter_token_seconds_count") > 5
    assert grew("millm_prompt_tokens_total") > 3
    assert grew("millm_http_requests_total", "v1,POST,200") == 1
    assert after["millm_broker_up", ""] == 1
    assert after["millm_workers", "demo,ready"] == 1
    assert ("millm_queue_length", "millm.jobs") in after


def test_a_worker_tells_of_its_engine_at_a_port_of_its_own(server: Server, api_key: str) -> None:
    port = free_port()
    worker = server.start_worker(METRICS_PORT=str(port))
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                told = figures(f"http://127.0.0.1:{port}/metrics")
            except httpx.HTTPError:
                told = {}
            if ("millm_batch_places", "") in told:
                break
            time.sleep(0.2)
        assert told["millm_batch_places", ""] == 16
        assert 0 <= told["millm_cache_use_ratio", ""] <= 1
        assert told["millm_generated_tokens_total", ""] == 0
    finally:
        worker.terminate()
        worker.wait(timeout=60)


def test_with_a_token_only_those_who_have_it_read_them(db: None, settings: Any) -> None:
    settings.METRICS_TOKEN = "s3cret"
    assert Client().get("/metrics").status_code == 401
    assert Client().get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert Client().get("/metrics", headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_without_redis_it_says_so(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("unix:///nowhere/redis.sock")
    monkeypatch.setattr(stream, "connection", away)
    assert read(Client().get("/metrics").content.decode())["millm_broker_up", ""] == 0
    away.close()


def test_profiles_beyond_a_bound_share_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_profiles", set())
    labels = {metrics.profile_label(f"p{i}") for i in range(1000)} | {metrics.profile_label(None)}
    assert len(labels) == metrics.PROFILES + 2
    assert metrics.profile_label("p0") == "p0"
    assert metrics.profile_label("p999") == "other"


def test_activations_are_counted_by_their_door(demo: None, client: Client) -> None:
    def count() -> float:
        return read(client.get("/metrics").content.decode()).get(("millm_activations_total", "command"), 0)

    before = count()
    Profile.objects.get(name="ocean").activate()
    Profile.objects.get(name="ocean").activate()  # is active already: nothing changes
    assert count() == before + 1

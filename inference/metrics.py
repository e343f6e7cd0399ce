"""Prometheus metrics: this web process's requests, and cluster state from Redis (identical on every web).

A worker serves the metrics of its own engine at METRICS_PORT. Names and units follow
https://prometheus.io/docs/practices/naming/.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, get_args

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from inference.broker import counters, heartbeats
from inference.broker.queues import waiting_in
from inference.interface import EngineStatistics, Event

PROFILES = 100
"""The first 100 profiles seen get their own label value; the rest count as `other`."""
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUESTS = Counter("millm_requests_total", "Requests for answers or embeddings that ended, and how.", ["outcome"])
for outcome in get_args(counters.Outcome):
    REQUESTS.labels(outcome)  # a rate needs a beginning
PROFILE_REQUESTS = Counter("millm_profile_requests_total", "Requests by the profile that steered them.", ["profile"])
FIRST_TOKEN = Histogram("millm_first_token_seconds", "From a request to its first token.", buckets=SECONDS)
INTER_TOKEN = Histogram("millm_inter_token_seconds", "Between the tokens of an answer.", buckets=SECONDS)
PROMPT_TOKENS = Counter("millm_prompt_tokens_total", "Tokens of the prompts that were answered, each prompt once.")
READINGS = Counter("millm_readings_total", "Readings of activations, by kind and how they ended.", ["kind", "outcome"])

HTTP = Counter("millm_http_requests_total", "Requests of any kind.", ["area", "method", "status"])
AREAS = ("v1", "api", "admin", "static")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_profiles: set[str] = set()
_models: set[str] = set()  # all that workers have had: a queue outlives its workers


@dataclass
class Pace:
    """The times at which the tokens of one request came; the request `arrived` by time.perf_counter()."""

    arrived: float
    first_token_s: float | None = None
    _last: dict[int, float] = field(default_factory=dict)

    def observe(self, event: Event) -> None:
        """Time an event of one of its choices, which came just now, whenever the client reads it."""
        now = time.perf_counter()
        if event.kind != "delta":
            return
        if self.first_token_s is None:
            self.first_token_s = now - self.arrived
            FIRST_TOKEN.observe(self.first_token_s)
        choice = event.data["index"]
        if choice in self._last:
            INTER_TOKEN.observe((now - self._last[choice]) / max(1, len(event.data["token_ids"])))
        self._last[choice] = now


def answered(method: str, path: str, status: int) -> None:
    """Count a response, by labels with few values."""
    area = path.lstrip("/").partition("/")[0]
    area, method = area if area in AREAS else "other", method if method in METHODS else "other"
    HTTP.labels(area, method, str(status)).inc()


def profile_label(profile: str | None) -> str:
    """The label value of a profile: at most PROFILES names, `none` and `other`."""
    if profile is None:
        return "none"
    if len(_profiles) < PROFILES:
        _profiles.add(profile)
    return profile if profile in _profiles else "other"


class Shared(Collector):
    """The state that Redis has of all processes, read at each scrape; only `millm_broker_up 0` without Redis."""

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("millm_broker_up", "Whether Redis answers.")
        try:
            workers = heartbeats.live_workers()
            queues = _queues(workers)
            waiting = dict(zip(queues, waiting_in(queues), strict=True))
            activations = counters.activations()
        except redis.RedisError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield _gauge("millm_queue_length", "Requests that wait in the broker.", "queue", waiting)
        for name, about, read in HEARTBEAT:
            yield _gauge(name, about, "worker", {one.worker: read(one) for one in workers})
        alive = GaugeMetricFamily("millm_workers", "Live workers.", labels=["model", "status"])
        for model, status in sorted({(one.model, one.status) for one in workers}):
            alive.add_metric([model, status], sum((one.model, one.status) == (model, status) for one in workers))
        yield alive
        activated = CounterMetricFamily("millm_activations", "Activations of profiles, by their door.", labels=["door"])
        for door, count in activations.items():
            activated.add_metric([door], count)
        yield activated


HEARTBEAT: list[tuple[str, str, Callable[[heartbeats.Heartbeat], float]]] = [
    ("millm_worker_running_requests", "Requests in the worker's batch.", lambda one: one.running),
    ("millm_worker_waiting_requests", "Requests in the worker that wait for its batch.", lambda one: one.waiting),
    ("millm_worker_batch_places", "Requests that its batch holds.", lambda one: one.max_requests),
    ("millm_worker_memory_bytes", "Its memory.", lambda one: one.memory_bytes),
    ("millm_worker_gpu_bytes", "Bytes of the tensors on its GPU.", lambda one: one.gpu_bytes or 0),
]


class Engine(Collector):
    """The metrics of this worker's engine; none while no model is loaded."""

    def __init__(self, statistics: Callable[[], EngineStatistics | None]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        now = self._statistics()
        if now is None:
            return
        yield CounterMetricFamily("millm_generated_tokens", "Tokens that were generated.", value=now.generated_tokens)
        yield GaugeMetricFamily("millm_batch_requests", "Requests in the batch.", value=now.running)
        yield GaugeMetricFamily("millm_batch_places", "Requests that the batch holds.", value=now.max_requests)
        yield GaugeMetricFamily("millm_batch_waiting", "Requests that wait for the batch.", value=now.waiting)
        yield GaugeMetricFamily("millm_cache_tokens", "Tokens that the KV cache holds.", value=now.cache_tokens)
        yield GaugeMetricFamily("millm_cache_use_ratio", "The part of the KV cache in use.", value=now.cache_use)


def serve_engine(statistics: Callable[[], EngineStatistics | None]) -> None:
    """Serve the metrics of this worker at METRICS_PORT, where that is set."""
    if settings.METRICS_PORT:
        REGISTRY.register(Engine(statistics))
        start_http_server(settings.METRICS_PORT)


def metrics(request: HttpRequest) -> HttpResponse:
    """The page that Prometheus scrapes; with METRICS_TOKEN set only for a client that sends it as bearer token."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if settings.METRICS_TOKEN and not compare_digest(given.encode(), settings.METRICS_TOKEN.encode()):
        refusal = "The bearer token is not that of METRICS_TOKEN.\n"
        return HttpResponse(refusal, status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"})
    live = CollectorRegistry()
    live.register(Shared())
    return HttpResponse(generate_latest(REGISTRY) + generate_latest(live), content_type=CONTENT_TYPE_LATEST)


def _queues(workers: list[heartbeats.Heartbeat]) -> list[str]:
    """The queues of all models that workers have or had: not from PostgreSQL, which may be unavailable."""
    from inference.models import LanguageModel

    _models.update(one.model for one in workers if one.model)
    return [LanguageModel(name=name).queue for name in sorted(_models)]


def _gauge(name: str, about: str, label: str, values: dict[str, Any]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, about, labels=[label])
    for of, value in values.items():
        gauge.add_metric([of], value)
    return gauge

"""The cards of the dashboard: one function for each, which makes the card's context out of one snapshot."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from django.utils.timesince import timesince
from redis import RedisError

from inference.admin.progress import VARIANTS, render_badge
from inference.admin.setups import offered, setup_url
from inference.broker import counters, heartbeats
from inference.broker.queues import waiting_in
from inference.capabilities import CAPABILITIES
from inference.models import LanguageModel
from inference.setups.models import Setup
from inference.states import Workers
from millm_site.models import APIKey
from millm_site.pages import charts
from profiles.admin.badges import Chip, strongest
from profiles.live import outcome
from profiles.models import Profile
from steering.models import SAE, FeatureLabel, SteeringState

logger = logging.getLogger(__name__)

CHIPS_SHOWN = 24
VERSIONS_SHOWN = 8
VERSION_FIELDS = ("history_id", "history_type", "history_change_reason", "history_date", "door", "agent")
VIEWED = {"model": LanguageModel, "sae": SAE, "profile": Profile, "steering": SteeringState, "labels": FeatureLabel}


@dataclass(frozen=True)
class Broker:
    """The state in Redis: living workers, the waiting requests of each model, the traffic of the last hour."""

    workers: list[heartbeats.Heartbeat]
    waiting: dict[str, int]
    hour: counters.Hour


@dataclass(frozen=True)
class Snapshot:
    """The rows and figures that the cards show. `may` has what the user may view; `broker` is None without Redis."""

    may: Mapping[str, bool]
    model: LanguageModel | None
    saes: list[SAE]
    state: SteeringState
    active: Profile | None
    broker: Broker | None

    @property
    def sae(self) -> SAE | None:
        """The main attached SAE."""
        return next((sae for sae in self.saes if sae.is_attached), None)


@dataclass(frozen=True)
class Version:
    """A version of a profile, or of the live steering."""

    key: str
    name: str
    change: str
    row: Any
    url: str

    @property
    def ago(self) -> str:
        age = timesince(self.row.history_date)
        return "just now" if age.startswith("0") else f"{age} ago"


def may_view(request: HttpRequest, model: Any) -> bool:
    return bool(admin.site.get_model_admin(model).has_view_permission(request))


def may_activate(request: HttpRequest) -> bool:
    return may_view(request, Profile) and request.user.has_perm("profiles.activate_profile")


def cards(request: HttpRequest) -> dict[str, Any]:
    """The context of all cards that the user may view, by a fixed number of queries. Other cards are None."""
    now = snapshot(request)
    return {
        "may": now.may,
        "problems": problems(now),
        "model": model_card(now),
        "setup": setup_card(now, request.user),
        "saes": saes_card(now),
        "profile": profile_card(now),
        "steering": steering_card(now),
        "workers": workers_card(now),
        "traffic": traffic_card(now),
        "api": {"url": request.build_absolute_uri("/v1"), "keys": may_view(request, APIKey)},
        "versions": versions_card(now),
    }


def snapshot(request: HttpRequest) -> Snapshot:
    may = {name: may_view(request, model) for name, model in VIEWED.items()} | {"activate": may_activate(request)}
    model, state = LanguageModel.objects.current(), SteeringState.objects.load()
    broker = _ask_redis(model)
    if model and broker:
        model.workers = Workers(broker.workers)
    return Snapshot(may, model, SAE.objects.all_attached(), state, Profile.objects.active(), broker)


def _ask_redis(model: LanguageModel | None) -> Broker | None:
    """None if Redis does not answer."""
    try:
        workers = sorted(heartbeats.live_workers(), key=lambda worker: worker.worker)
        names = sorted({worker.model for worker in workers if worker.model} | ({model.name} if model else set()))
        waiting = waiting_in([LanguageModel(name=name).queue for name in names])
        return Broker(workers, dict(zip(names, waiting, strict=True)), counters.last_hour())
    except RedisError as error:
        logger.warning("Redis: %s", error)
        return None


def problems(now: Snapshot) -> list[str]:
    """The reasons why no request is answered, with what to do."""
    if now.broker is None:
        return [
            "Redis does not answer: no request can be answered now, and the state of the workers is unknown. "
            "Start Redis, or correct REDIS_URL. This page continues by itself."
        ]
    if not now.broker.workers:
        return [
            "No worker runs: no request can be answered now. Start one: make run starts one beside the server, "
            "and its log says why one ended."
        ]
    model = now.model if now.may["model"] else None
    if model and model.status == LanguageModel.Status.QUEUED:
        return [
            f"No worker has loaded {model}: requests for it are refused until one has. See the workers' logs for more."
        ]
    return []


def model_card(now: Snapshot) -> dict[str, Any] | None:
    return _served(now.model, "inference_languagemodel") if now.model and now.may["model"] else None


def setup_card(now: Snapshot, user: Any) -> dict[str, Any] | None:
    """The previous setup, where `user` may restore it."""
    present = Setup.of(now.model, now.saes, now.active, now.state) if now.model else None
    found = offered(Setup.objects.other_than(present)[:1], user) if now.may["model"] else []
    return {"row": found[0], "url": setup_url(found[0])} if found else None


def saes_card(now: Snapshot) -> list[dict[str, Any]]:
    """The attached SAEs, the main one first."""
    return [_served(sae, "steering_sae") for sae in now.saes] if now.may["sae"] else []


def _served(row: Any, admin_name: str) -> dict[str, Any]:
    return {
        "row": row,
        "badge": render_badge(row.get_status_display(), VARIANTS.get(row.status, "info")),
        "percent": None if row.progress is None or row.status == "ready" else round(100 * row.progress),
        "url": reverse(f"admin:{admin_name}_change", args=[quote(row.pk)]),
    }


def profile_card(now: Snapshot) -> dict[str, Any] | None:
    if now.active is None or not now.may["profile"]:
        return None
    url = reverse("admin:profiles_profile_change", args=[quote(now.active.pk)])
    return {"row": now.active, "url": url, "differs": now.active.differs_from(now.state)}


def steering_card(now: Snapshot) -> dict[str, Any] | None:
    if not now.may["steering"]:
        return None
    strengths = now.state.strengths
    shown = strongest(strengths, CHIPS_SHOWN)
    labels = FeatureLabel.objects.of(now.state.sae_id, shown) if now.may["labels"] else {}
    sees_all = now.may["model"] and now.may["sae"] and now.may["profile"]  # the outcome names all of these
    return {
        "is_on": bool(now.state.enabled and now.state.document),
        "outcome": outcome(now.state, now.model, now.sae, now.active) if sees_all else None,
        "chips": [Chip(index, strengths[index], labels.get(index, "")) for index in shown],
        "more_chips": now.state.document.number - len(shown),
    }


def workers_card(now: Snapshot) -> dict[str, Any] | None:
    """`table` for Unfold's component, the number of `waiting` requests of each model, and what an engine `lacks`."""
    if now.broker is None or not now.may["model"]:
        return None
    headers = ["worker", "state", "model", "engine", "device", "memory", "batch", "waiting"]
    table = {"headers": headers, "rows": [_worker_row(worker) for worker in now.broker.workers]}
    lacks = {
        worker.engine: [CAPABILITIES[name] for name in worker.lacks if name in CAPABILITIES]
        for worker in now.broker.workers
        if worker.lacks
    }
    return {"table": table, "waiting": now.broker.waiting, "lacks": lacks}


def _worker_row(worker: heartbeats.Heartbeat) -> list[Any]:
    gpu = f" + {filesizeformat(worker.gpu_bytes)} on the GPU" if worker.gpu_bytes is not None else ""
    return [
        worker.worker.rpartition(":")[0],
        format_html("{} {}", render_badge(worker.status, VARIANTS.get(worker.status, "info")), worker.error),
        worker.model or "-",
        worker.engine,
        worker.device or "-",
        filesizeformat(worker.memory_bytes) + gpu,
        f"{worker.running} of {worker.max_requests}" if worker.max_requests else "-",
        worker.waiting,
    ]


def traffic_card(now: Snapshot) -> dict[str, Any]:
    """`figures` and `series` of the charts of the last hour; `figures` is None without Redis."""
    hour = now.broker.hour if now.broker else None
    return {"figures": charts.figures(hour) if hour else None, "series": charts.series(hour)}


def versions_card(now: Snapshot) -> list[Version]:
    """The latest changes of profiles and of the live steering."""
    found = []
    if now.may["profile"]:
        for row in Profile.history.only(*VERSION_FIELDS, "id", "name")[:VERSIONS_SHOWN]:
            url = reverse("admin:profiles_profile_history", args=[quote(row.id)])
            found.append(Version(f"profile-{row.history_id}", row.name, _reason(row), row, url))
    if now.may["steering"]:
        url = reverse("admin:steering_steeringstate_history", args=[1])
        for row in SteeringState.history.only(*VERSION_FIELDS)[:VERSIONS_SHOWN]:
            # A reason may name a profile, which this user may not view.
            change = _reason(row) if now.may["profile"] else row.get_history_type_display().lower()
            found.append(Version(f"steering-{row.history_id}", "Live steering", change, row, url))
    return sorted(found, key=lambda version: version.row.history_date, reverse=True)[:VERSIONS_SHOWN]


def _reason(row: Any) -> str:
    reason: str = row.history_change_reason or row.get_history_type_display().lower()
    return reason

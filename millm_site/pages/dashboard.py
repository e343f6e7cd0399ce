"""The dashboard: what is served and what steers, how it goes, who changed what. Its parts update by themselves."""

import logging
from dataclasses import dataclass
from heapq import nlargest
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.timesince import timesince
from django.views.decorators.http import require_POST, require_safe
from redis import RedisError

from inference.admin.progress import VARIANTS, badge
from inference.broker import counters, stream
from inference.models import LanguageModel
from inference.states import Workers
from millm_site.models import APIKey
from millm_site.pages import charts
from profiles.admin.badges import Chip
from profiles.compatibility import reasons
from profiles.errors import IncompatibleProfile
from profiles.live import outcome
from profiles.models import Profile
from steering.errors import SteeringError
from steering.models import SAE, FeatureLabel, SteeringState

logger = logging.getLogger(__name__)

MAX_OFFERED = 8
CHIPS_SHOWN = 24
VERSIONS_SHOWN = 8
VERSION_FIELDS = ("history_id", "history_type", "history_change_reason", "history_date", "door", "agent")


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK: the context of templates/admin/index.html."""
    now = _now(request)
    return {**context, "title": "Dashboard", "now": now, "charts": charts.charts(now["series"])}


@require_safe
def parts(request: HttpRequest) -> HttpResponse:
    """What the page puts in place of its parts every few seconds."""
    return _parts(request)


@require_safe
def offered(request: HttpRequest) -> JsonResponse:
    """The first profiles that could be activated now with `?search=` in their name."""
    if not _may_view(request, Profile):
        raise PermissionDenied
    named = Profile.objects.filter(name__icontains=request.GET.get("search", "").replace("\0", ""), is_active=False)
    fitting = named.fitting(LanguageModel.objects.current(), SAE.objects.attached()).order_by("name")
    names = list(fitting.values_list("name", flat=True)[: MAX_OFFERED + 1])
    return JsonResponse({"names": names[:MAX_OFFERED], "has_more": len(names) > MAX_OFFERED})


@require_POST
def activate(request: HttpRequest) -> HttpResponse:
    """Activate the profile of this name."""
    _check_may_activate(request)
    try:
        profile = Profile.objects.named(request.POST.get("profile", "").strip())
        profile.activate()
    except IncompatibleProfile:
        why = reasons(profile, LanguageModel.objects.current(), SAE.objects.attached())
        return _parts(request, refusal=" ".join([f"{profile} does not fit.", *why]))
    except SteeringError as error:
        return _parts(request, refusal=f"{capfirst(str(error))}.")
    return _parts(request, refusal="")


@require_POST
def deactivate(request: HttpRequest) -> HttpResponse:
    """Deactivate the profile of this id, if it is the active one still."""
    _check_may_activate(request)
    try:
        Profile.objects.with_id(request.POST.get("profile", "")).deactivate()
    except SteeringError as error:
        return _parts(request, refusal=f"{capfirst(str(error))}.")
    return _parts(request, refusal="")


def _parts(request: HttpRequest, **context: Any) -> HttpResponse:
    return TemplateResponse(request, "millm/dashboard/parts.html", {"now": _now(request), **context})


def _may_view(request: HttpRequest, model: Any) -> bool:
    return bool(admin.site.get_model_admin(model).has_view_permission(request))


def _may_activate(request: HttpRequest) -> bool:
    return _may_view(request, Profile) and request.user.has_perm("profiles.activate_profile")


def _check_may_activate(request: HttpRequest) -> None:
    if not _may_activate(request):
        raise PermissionDenied


# --- what the parts show ---


@dataclass(frozen=True)
class Broker:
    """What Redis knows: the workers that are alive, how many requests wait for a worker, the last hour."""

    workers: list[stream.Heartbeat]
    waiting: dict[str, int]
    hour: counters.Hour


@dataclass(frozen=True)
class Version:
    """A version of a profile, or of the live steering."""

    key: str
    name: str
    what: str
    row: Any
    url: str

    @property
    def ago(self) -> str:
        told = timesince(self.row.history_date)
        return "just now" if told.startswith("0") else f"{told} ago"


def _now(request: HttpRequest) -> dict[str, Any]:
    """All that this user may see, by a fixed number of queries."""
    viewed = {"model": LanguageModel, "sae": SAE, "profile": Profile, "steering": SteeringState, "labels": FeatureLabel}
    may = {name: _may_view(request, model) for name, model in viewed.items()}
    model, sae = LanguageModel.objects.current(), SAE.objects.attached()
    state, active = SteeringState.objects.load(), Profile.objects.active()
    broker = _ask_redis(model)
    if model and broker:
        model.workers = Workers(broker.workers)
    sees_all = may["model"] and may["sae"] and may["profile"] and may["steering"]
    return {
        "may": may | {"activate": _may_activate(request)},
        "problems": _problems(broker, model if may["model"] else None),
        "model": _served(model, "inference_languagemodel") if model and may["model"] else None,
        "sae": _served(sae, "steering_sae") if sae and may["sae"] else None,
        "active": active if may["profile"] else None,
        "active_url": reverse("admin:profiles_profile_change", args=[quote(active.pk)]) if active else "",
        "differs": active is not None and active.differs_from(state),
        "state": state if may["steering"] else None,
        "outcome": outcome(state, model, sae, active) if sees_all else None,
        "chips": _chips(state, with_labels=may["labels"]) if may["steering"] else [],
        "more_chips": max(0, len(state.values) - CHIPS_SHOWN),
        "workers": _table(broker.workers) if broker and may["model"] else None,
        "waiting": broker.waiting if broker else {},
        "series": charts.series(broker.hour if broker else None),
        "figures": charts.figures(broker.hour) if broker else None,
        "api": {"url": request.build_absolute_uri("/v1"), "keys": _may_view(request, APIKey)},
        "versions": _versions(profiles=may["profile"], steering=may["steering"]),
    }


def _ask_redis(model: LanguageModel | None) -> Broker | None:
    """None where it does not answer."""
    try:
        workers = sorted(stream.live_workers(), key=lambda worker: worker.worker)
        names = sorted({worker.model for worker in workers if worker.model} | ({model.name} if model else set()))
        waiting = stream.waiting_in([LanguageModel(name=name).queue for name in names])
        return Broker(workers, dict(zip(names, waiting, strict=True)), counters.last_hour())
    except RedisError as error:
        logger.warning("Redis: %s", error)
        return None


def _problems(broker: Broker | None, model: LanguageModel | None) -> list[str]:
    """What keeps requests from being answered, and what to do."""
    if broker is None:
        return [
            "Redis does not answer: no request can be answered now, and what workers do is not known. "
            "Start Redis, or correct REDIS_URL; this page goes on by itself."
        ]
    if not broker.workers:
        return [
            "No worker runs: no request can be answered now. Start one: make run starts one beside the server, "
            "and its log says why one ended."
        ]
    if model and model.status == LanguageModel.Status.QUEUED:
        return [f"No worker has {model} ready: requests for it are refused until one has. The workers' logs say more."]
    return []


def _served(row: Any, admin_name: str) -> dict[str, Any]:
    """A model or an SAE, with how far it is."""
    return {
        "row": row,
        "badge": badge(row.get_status_display(), VARIANTS.get(row.status, "info")),
        "percent": None if row.progress is None or row.status == "ready" else round(100 * row.progress),
        "url": reverse(f"admin:{admin_name}_change", args=[quote(row.pk)]),
    }


def _chips(state: SteeringState, *, with_labels: bool) -> list[Chip]:
    """The strongest features of the live steering."""
    strongest = nlargest(CHIPS_SHOWN, state.values, key=lambda index: abs(state.values[index]))
    labels = FeatureLabel.objects.of(state.sae_id, strongest) if with_labels else {}
    return [Chip(index, state.values[index], labels.get(index, "")) for index in strongest]


def _table(workers: list[stream.Heartbeat]) -> dict[str, Any]:
    """For Unfold's table."""
    rows = [
        [
            worker.worker.rpartition(":")[0],
            format_html("{} {}", badge(worker.status, VARIANTS.get(worker.status, "info")), worker.error),
            worker.model or "-",
            worker.device or "-",
            filesizeformat(worker.memory_bytes)
            + (f" + {filesizeformat(worker.gpu_bytes)} on the GPU" if worker.gpu_bytes is not None else ""),
            f"{worker.running} of {worker.max_requests}" if worker.max_requests else "-",
            worker.waiting,
        ]
        for worker in workers
    ]
    return {"headers": ["worker", "state", "model", "device", "memory", "batch", "waiting"], "rows": rows}


def _versions(*, profiles: bool, steering: bool) -> list[Version]:
    """The latest changes of both."""
    found = []
    if profiles:
        for row in Profile.history.only(*VERSION_FIELDS, "id", "name")[:VERSIONS_SHOWN]:
            url = reverse("admin:profiles_profile_history", args=[quote(row.id)])
            found.append(Version(f"profile-{row.history_id}", row.name, _done(row), row, url))
    if steering:
        url = reverse("admin:steering_steeringstate_history", args=[1])
        for row in SteeringState.history.only(*VERSION_FIELDS)[:VERSIONS_SHOWN]:
            what = _done(row) if profiles else row.get_history_type_display().lower()  # a reason may name a profile
            found.append(Version(f"steering-{row.history_id}", "Live steering", what, row, url))
    return sorted(found, key=lambda version: version.row.history_date, reverse=True)[:VERSIONS_SHOWN]


def _done(row: Any) -> str:
    reason: str = row.history_change_reason or row.get_history_type_display().lower()
    return reason


_view = admin.site.admin_view
urlpatterns = [
    path("parts", _view(parts), name="dashboard_parts"),
    path("profiles", _view(offered), name="dashboard_profiles"),
    path("activate", _view(activate), name="dashboard_activate"),
    path("deactivate", _view(deactivate), name="dashboard_deactivate"),
]

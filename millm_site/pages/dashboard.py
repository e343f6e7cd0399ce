"""The dashboard: what is served and steers, the traffic and the latest changes. Its parts update by themselves."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.text import capfirst
from django.views.decorators.http import require_POST, require_safe

from inference.models import LanguageModel
from millm_site.pages import charts
from millm_site.pages.cards import cards, may_activate, may_view
from millm_site.pages.first_steps import dismiss, first_steps
from profiles.admin.search import fitting_names
from profiles.admin.undo_page import with_undo
from profiles.compatibility import reasons
from profiles.errors import IncompatibleProfile
from profiles.models import Profile
from profiles.undo import Undo, record
from steering.admin.permissions import missing
from steering.errors import Refused
from steering.models import SAE

MAX_OFFERED = 8


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK: the context of templates/admin/index.html."""
    now = cards(request)
    shown = {"title": "Dashboard", "now": now, "first_steps": first_steps(request)}
    return {**context, **shown, "charts": charts.charts(now["traffic"]["series"])}


@require_safe
def parts(request: HttpRequest) -> HttpResponse:
    """The parts that the page replaces every few seconds."""
    return _parts(request)


@require_safe
def offered(request: HttpRequest) -> JsonResponse:
    """The first profiles that could be activated now with `?search=` in their name."""
    if not may_view(request, Profile):
        raise missing("profiles.view_profile")
    model, sae = LanguageModel.objects.current(), SAE.objects.attached()
    names, has_more = fitting_names(request.GET.get("search", ""), model, sae, most=MAX_OFFERED)
    return JsonResponse({"names": names, "has_more": has_more})


@require_POST
def activate(request: HttpRequest) -> HttpResponse:
    """Activate the profile with the posted name."""
    _check_may_activate(request)
    try:
        profile = Profile.objects.named(request.POST.get("profile", "").strip())
        _, undo = record(profile.activate)
    except IncompatibleProfile:
        why = reasons(profile, LanguageModel.objects.current(), SAE.objects.attached())
        return _parts(request, refusal=" ".join([f"{profile} does not fit.", *why]))
    except Refused as error:
        return _parts(request, refusal=f"{capfirst(str(error))}.")
    return _done(request, f"{profile} was activated.", undo)


@require_POST
def deactivate(request: HttpRequest) -> HttpResponse:
    """Deactivate the profile with the posted id, if it is still active."""
    _check_may_activate(request)
    try:
        profile = Profile.objects.with_id(request.POST.get("profile", ""))
        _, undo = record(profile.deactivate)
    except Refused as error:
        return _parts(request, refusal=f"{capfirst(str(error))}.")
    return _done(request, f"{profile} was deactivated.", undo)


def _done(request: HttpRequest, text: str, undo: Undo) -> HttpResponse:
    """The parts, with a message that offers to undo the change; without a message where nothing changed."""
    return _parts(request, refusal="", done=with_undo(text, undo, request) if undo else "")


def _parts(request: HttpRequest, **context: Any) -> HttpResponse:
    return TemplateResponse(request, "millm/dashboard/parts.html", {"now": cards(request), **context})


def _check_may_activate(request: HttpRequest) -> None:
    if not may_activate(request):
        raise missing("profiles.view_profile", "profiles.activate_profile")


_view = admin.site.admin_view
urlpatterns = [
    path("parts", _view(parts), name="dashboard_parts"),
    path("profiles", _view(offered), name="dashboard_profiles"),
    path("activate", _view(activate), name="dashboard_activate"),
    path("deactivate", _view(deactivate), name="dashboard_deactivate"),
    path("first-steps/dismiss", _view(dismiss), name="dashboard_dismiss"),
]

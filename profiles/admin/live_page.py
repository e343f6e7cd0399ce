"""The page of the live steering: what steers now, changed on the spot. Here, since it knows the active profile."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from profiles.admin.form_page import SIDES
from profiles.admin.history_page import HistoryAdmin
from profiles.files.formats import DESCRIPTION_LENGTH, NAME_LENGTH
from profiles.live import live_steering
from profiles.models import Profile
from steering.admin.widgets import FeatureStrengthsWidget, FeatureTable
from steering.errors import StaleSteering, SteeringError
from steering.models import SAE, SteeringState
from steering.strict_json import loads


class Action(forms.Form):
    """A change that the page posts; `permission` is needed for it."""

    permission: ClassVar[str] = "steering.change_steeringstate"

    def do(self) -> str:
        """Do it, and say what was done, in a few words. Raises SteeringError."""
        raise NotImplementedError


class OnShownSAE(Action):
    """A change of features, which are those of the SAE that the page shows ("" for none)."""

    sae = forms.CharField(required=False)

    @transaction.atomic
    def do(self) -> str:
        state, sae = SteeringState.objects.lock(), SAE.objects.attached()
        shown, attached = self.cleaned_data["sae"], sae.pk if sae else ""
        if shown != attached:
            told = f"{attached or 'no SAE'} is attached by now, and the page showed {shown or 'none'}"
            raise StaleSteering(f"{told}: look again at what steers")
        return self.change(state)

    def change(self, state: SteeringState) -> str:
        """`do`, under the lock."""
        raise NotImplementedError


class SetFeatures(OnShownSAE):
    features = forms.CharField()

    def clean_features(self) -> Any:
        try:
            return loads(self.cleaned_data["features"])
        except ValueError as error:
            raise ValidationError(f"got no JSON: {error}") from error

    def change(self, state: SteeringState) -> str:
        state.set_features(self.cleaned_data["features"])
        return "Applied"


class Enable(OnShownSAE):
    def change(self, state: SteeringState) -> str:
        state.enable()
        return "On"


class Disable(Action):
    def do(self) -> str:
        SteeringState.objects.load().disable()
        return "Off"


class Clear(OnShownSAE):
    def change(self, state: SteeringState) -> str:
        state.clear()
        return "Cleared"


class SaveAs(Action):
    permission = "profiles.add_profile"
    version = forms.IntegerField()
    name = forms.CharField(max_length=NAME_LENGTH)
    description = forms.CharField(required=False, max_length=DESCRIPTION_LENGTH)

    @transaction.atomic
    def do(self) -> str:
        SteeringState.objects.lock_seen(self.cleaned_data.pop("version"))
        return f"Saved as profile {Profile.objects.save_current(**self.cleaned_data)}"


class UpdateProfile(Action):
    permission = "profiles.change_profile"
    version = forms.IntegerField()
    profile = forms.CharField()

    @transaction.atomic
    def do(self) -> str:
        SteeringState.objects.lock()
        profile = Profile.objects.with_id(self.cleaned_data["profile"])
        profile.take_live_steering(self.cleaned_data["version"])
        return f"Profile {profile} is updated"


class Revert(Action):
    permission = "profiles.activate_profile"
    profile = forms.CharField()

    @transaction.atomic
    def do(self) -> str:
        SteeringState.objects.lock()
        profile = Profile.objects.with_id(self.cleaned_data["profile"])
        profile.revert_live_steering()
        return f"Back to profile {profile}"


ACTIONS: dict[str, type[Action]] = {
    "set": SetFeatures,
    "enable": Enable,
    "disable": Disable,
    "clear": Clear,
    "save-as": SaveAs,
    "update-profile": UpdateProfile,
    "revert": Revert,
}


@admin.register(SteeringState)
class LiveSteeringAdmin(HistoryAdmin):
    """One row: the list is its page."""

    compared: ClassVar[dict[str, str]] = {"enabled": "steering", "sae_id": "SAE"}
    strengths = "values"
    number = "version"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("state/", view(self.state_view), name="steering_steeringstate_state"),
            path("do/<slug:action>/", view(self.do_view), name="steering_steeringstate_do"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SteeringState | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The page itself."""
        self._check_may_view(request)
        live = live_steering()
        may = {name.replace("-", "_"): request.user.has_perm(action.permission) for name, action in ACTIONS.items()}
        sae = live["sae"] or {"id": None, "d_sae": None}
        table = FeatureTable(sae["id"], sae["d_sae"], request.user, read_only=not may["set"])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Live steering",
            "live": live,
            "features": table.context(live["values"]),
            "media": FeatureStrengthsWidget().media,
            "may": may,
            "tryit_sides": SIDES,
            "name_length": NAME_LENGTH,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/steering/steeringstate/live.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """There is no form: the page has what there is to change."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        return redirect("admin:steering_steeringstate_changelist")

    def state_view(self, request: HttpRequest) -> HttpResponse:
        """What the page shows, asked for every few seconds."""
        self._check_may_view(request)
        return JsonResponse(live_steering())

    def do_view(self, request: HttpRequest, action: str) -> HttpResponse:
        """Do one of ACTIONS; the answer is the new state, or why nothing was changed."""
        if action not in ACTIONS:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._check_may_view(request)
        if not request.user.has_perm(ACTIONS[action].permission):
            raise PermissionDenied
        form = ACTIONS[action](request.POST)
        if not form.is_valid():
            field, [told, *_] = next(iter(form.errors.items()))
            return JsonResponse({"detail": f"{field}: {told}", "field": field}, status=400)
        try:
            done = form.do()
        except SteeringError as error:
            return JsonResponse({"detail": str(error), "code": error.code, **error.details}, status=error.status)
        return JsonResponse({**live_steering(), "done": done})

    def _check_may_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def versions(self, pk: str) -> QuerySet[Any]:
        if pk != "1":
            raise Http404
        rows: QuerySet[Any] = SteeringState.history.all()
        return rows

    def version(self, pk: str, number: int) -> Any:
        return SteeringState.objects.past(number)

    def _context(self, request: HttpRequest, pk: str, now: Any) -> dict[str, Any]:
        """Without the row among the breadcrumbs: its page is that of the model."""
        return {**super()._context(request, pk, now), "original": None}

    def now(self, pk: str) -> SteeringState:
        return SteeringState.objects.load()

    def restore(self, pk: str, number: int) -> str:
        SteeringState.objects.load().restore(number)
        return ""

    def steers_at_once(self, now: SteeringState, past: Any) -> str:
        if past.enabled and past.values:
            return "The features of this version steer every request at once."
        return "This version steers nothing: with it, requests are answered unsteered at once."

"""The page of the live steering, which can be changed there. It is in this app since it shows the active profile."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from profiles.admin.form_page import SIDES
from profiles.admin.history_page import HistoryAdmin
from profiles.files.formats import DESCRIPTION_LENGTH, NAME_LENGTH
from profiles.live import live_steering, profile_url
from profiles.models import Profile
from profiles.undo import Undo, record
from steering.admin.permissions import missing
from steering.admin.widgets import FeatureStrengthsWidget, FeatureTable
from steering.document import Steering
from steering.errors import Refused, StaleSteering
from steering.models import SAE, SteeringState
from steering.strict_json import loads


class Action(forms.Form):
    """A change that the page posts; it needs `permission`."""

    permission: ClassVar[str] = "steering.change_steeringstate"
    can_be_undone: ClassVar[bool] = False
    """True where the answer offers to undo it; the table has an undo of its own for its values."""
    saved: Profile | None = None
    """The new profile of an action that saves one."""
    user: Any = None

    def do(self) -> str:
        """Do the change and return a short message of it. Raises Refused."""
        raise NotImplementedError


class OnShownSAE(Action):
    """A change of features. It is refused if the attached SAE is not the SAE that the page shows ("" for none)."""

    sae = forms.CharField(required=False)

    @transaction.atomic
    def do(self) -> str:
        state, sae = SteeringState.objects.lock(), SAE.objects.attached()
        shown, attached = self.cleaned_data["sae"], sae.pk if sae else ""
        if shown != attached:
            change = f"the attached SAE changed from {shown or 'none'} to {attached or 'none'}"
            raise StaleSteering(f"{change}: check the live steering, then try again")
        return self.change(state)

    def change(self, state: SteeringState) -> str:
        """Do the change under the lock of the live steering; else as `do`."""
        raise NotImplementedError


class SetFeatures(OnShownSAE):
    features = forms.CharField()

    def clean_features(self) -> Any:
        try:
            return loads(self.cleaned_data["features"])
        except ValueError as error:
            raise ValidationError(f"this is not JSON: {error}") from error

    def change(self, state: SteeringState) -> str:
        state.set_features(self.cleaned_data["features"])
        return "Applied" if state.enabled else "Saved, off"


class SetIntensity(OnShownSAE):
    intensity = forms.FloatField()

    def change(self, state: SteeringState) -> str:
        state.set_intensity(self.cleaned_data["intensity"])
        return f"Intensity {state.document.intensity:g}"


class Enable(OnShownSAE):
    def change(self, state: SteeringState) -> str:
        state.enable()
        return "On"


class Disable(Action):
    def do(self) -> str:
        SteeringState.objects.load().disable()
        return "Off"


class Clear(OnShownSAE):
    can_be_undone = True

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
        self.saved = Profile.objects.save_current(**self.cleaned_data)
        return f"Saved as profile {self.saved}"


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


class Activate(Action):
    permission = "profiles.activate_profile"
    can_be_undone = True
    profile = forms.CharField()

    def do(self) -> str:
        profile = Profile.objects.with_id(self.cleaned_data["profile"])
        profile.activate()
        return f"Profile {profile} is active"


class Revert(Action):
    permission = "profiles.activate_profile"
    can_be_undone = True
    profile = forms.CharField()

    @transaction.atomic
    def do(self) -> str:
        SteeringState.objects.lock()
        profile = Profile.objects.with_id(self.cleaned_data["profile"])
        profile.revert_live_steering()
        return f"Back to profile {profile}"


class UndoLast(Action):
    """Undo the change of a token, which another answer offered. Who may activate nothing undoes no activation."""

    token = forms.CharField()

    def do(self) -> str:
        undo = Undo.read(self.cleaned_data["token"], self.user)
        if undo.before.active != undo.after.active and not self.user.has_perm(Activate.permission):
            raise missing(Activate.permission)
        undo.apply()
        return "Undone"


ACTIONS: dict[str, type[Action]] = {
    "set": SetFeatures,
    "intensity": SetIntensity,
    "enable": Enable,
    "disable": Disable,
    "clear": Clear,
    "save-as": SaveAs,
    "update-profile": UpdateProfile,
    "revert": Revert,
    "activate": Activate,
    "undo": UndoLast,
}


@admin.register(SteeringState)
class LiveSteeringAdmin(HistoryAdmin):
    """The admin of the one row of live steering; its page stands in place of the list."""

    compared: ClassVar[dict[str, str]] = {"enabled": "steering", "sae_id": "SAE"}
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
        """The page of the live steering."""
        self._check_may_view(request)
        live = live_steering()
        may = {name.replace("-", "_"): request.user.has_perm(action.permission) for name, action in ACTIONS.items()}
        table = FeatureTable(SAE.objects.attached(), request.user, read_only=not may["set"], unit=live["unit"])
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
        """Redirect to the page: the row has no form."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        return redirect("admin:steering_steeringstate_changelist")

    def state_view(self, request: HttpRequest) -> HttpResponse:
        """The state that the page shows; its script requests it every few seconds."""
        self._check_may_view(request)
        return JsonResponse(live_steering())

    def do_view(self, request: HttpRequest, action: str) -> HttpResponse:
        """Do one of ACTIONS. The answer is the new state, or the reason why nothing was changed."""
        if action not in ACTIONS:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._check_may_view(request)
        if not request.user.has_perm(ACTIONS[action].permission):
            raise missing(ACTIONS[action].permission)
        form = ACTIONS[action](request.POST)
        if not form.is_valid():
            field, [message, *_] = next(iter(form.errors.items()))
            return JsonResponse({"detail": f"{field}: {message}", "field": field}, status=400)
        form.user = request.user
        try:
            done, undo = record(form.do) if form.can_be_undone else (form.do(), None)
        except Refused as error:
            return JsonResponse({"detail": str(error), "code": error.code, **error.details}, status=error.status)
        saved = form.saved and {"id": form.saved.pk, "name": form.saved.name, "url": profile_url(form.saved)}
        token = undo.token(request.user) if undo else ""
        return JsonResponse({**live_steering(), "done": done, "saved": saved, "undo": token})

    def _check_may_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise missing("steering.view_steeringstate")

    def versions(self, pk: str) -> QuerySet[Any]:
        if pk != "1":
            raise Http404
        rows: QuerySet[Any] = SteeringState.history.all()
        return rows

    def version(self, pk: str, number: int) -> Any:
        return SteeringState.objects.past(number)

    def count(self, pk: str, version: Any) -> int:
        number: int = version.version
        return number

    def _context(self, request: HttpRequest, pk: str, now: Any) -> dict[str, Any]:
        """The context without `original`, so that the breadcrumbs have no link to the row's form."""
        return {**super()._context(request, pk, now), "original": None}

    def now(self, pk: str) -> SteeringState:
        return SteeringState.objects.load()

    def restore(self, pk: str, number: int) -> str:
        SteeringState.objects.load().restore(number)
        return ""

    def steers_at_once(self, now: SteeringState, past: Any) -> str:
        if past.enabled and Steering.join(past.strengths, past.more):
            return "Restoring takes effect immediately for all requests."
        return "Restoring takes effect immediately: requests are then answered unsteered."

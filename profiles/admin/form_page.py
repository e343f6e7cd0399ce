"""The form page of a profile in the admin."""

import json
import re
from collections.abc import Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin

from profiles.admin.document_fields import DOCUMENT_FIELDS, OF_KEYS
from profiles.admin.forms import ProfileForm
from profiles.compatibility import reasons
from profiles.models import Profile
from steering.admin.permissions import missing
from steering.admin.widgets import FeatureStrengthsWidget, FeatureTable, indices
from steering.document import Steering
from steering.errors import Refused
from steering.fields import FeatureStrengthsField
from steering.models import SAE, LanguageModel, SteeringState
from steering.strengths import parse_strengths
from steering.strict_json import loads

CHOICES = 200  # suggested names of models and SAEs; other names can be typed
TAKE_HERE = mark_safe(
    '<button type="button" class="features-button" x-data x-on:click="$store.profile.takeHere()">'
    '<span class="material-symbols-outlined" aria-hidden="true">my_location</span>'
    "Use the current model and SAE</button>"
)
FIND_FEATURES = mark_safe(
    '<button type="button" class="features-button" x-data x-on:click="$store.profile.findFeatures()">'
    '<span class="material-symbols-outlined" aria-hidden="true">travel_explore</span>'
    "Find features</button>"
)
SETTINGS: Any = [
    (
        "Settings",
        {"fields": [("unit", "intensity"), ("positions", "positions_tokens"), tuple(OF_KEYS.values())]},
    ),
    ("Conditions and further parts", {"fields": ["when", "also"]}),
]
"""The fieldsets of what a document has beside its features."""
MADE_FOR = ["model_id", "sae_id", "layer", "sae_fingerprint"]
LIVE = "live"
"""`?from=` of a new profile's form that begins with the live steering."""
STAYING = {"_continue", "_addanother", "_popup"}
"""The buttons of a form that lead to a form again, with Django's message."""
SIDES = [("plain", "Without", "{ features: {} }"), ("steered", "With these strengths", "wanted()")]


class ProfileFormAdmin(ModelAdmin):
    form = ProfileForm
    formfield_overrides = {FeatureStrengthsField: {"widget": FeatureStrengthsWidget}}
    readonly_fields = ["id", "created_at", "updated_at"]
    actions_detail = [
        "activate",
        "deactivate",
        "try_out",
        {"title": "More", "icon": "more_horiz", "items": ["sweep", "duplicate", "export", "compare_with"]},
    ]
    compressed_fields = False

    def get_fieldsets(self, request: HttpRequest, obj: Profile | None = None) -> Any:
        may_edit = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        features: Any = {"fields": ["strengths" if may_edit else "feature_table"]}
        if may_edit and may_find_features(request):
            features["description"] = FIND_FEATURES
        made_for = {"fields": [("model_id", "sae_id"), ("layer", "sae_fingerprint")]}
        more: list[Any] = [("Settings", {"fields": ["settings_shown"]})] if obj and obj.more else []
        return [
            (None, {"fields": ["name"]}),
            ("Features", features),
            ("About", {"fields": ["description", "tags", "notes"]}),
            *(SETTINGS if may_edit else more),
            ("Model and SAE", made_for | ({"description": TAKE_HERE} if may_edit else {})),
            *([("Record", {"fields": [("id", "created_at", "updated_at")]})] if obj else []),
        ]

    @admin.display(description="Strengths")
    def feature_table(self, profile: Profile) -> SafeString:
        """The table for users who may not edit."""
        sae = SAE.objects.filter(pk=profile.sae_id).first()
        unit = profile.document.unit
        table = FeatureTable(sae, read_only=True, unit=unit)
        return table.render(profile.strengths)

    @admin.display(description="Settings and parts")
    def settings_shown(self, profile: Profile) -> SafeString:
        """The settings and parts for users who may not edit."""
        return format_html("<pre>{}</pre>", json.dumps(profile.more, indent=2, ensure_ascii=False))

    def get_readonly_fields(self, request: HttpRequest, obj: Profile | None = None) -> Any:
        return [*super().get_readonly_fields(request, obj), "feature_table", "settings_shown"]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """All actions but activate for the active profile, all but deactivate for another."""
        active = Profile.objects.filter(pk=unquote(object_id), is_active=True).exists()
        needless = "profiles_profile_activate" if active else "profiles_profile_deactivate"
        return [action for action in super().get_actions_detail(request, object_id) if action.action_name != needless]

    def get_form(self, request: HttpRequest, obj: Profile | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.user = request.user
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A new profile starts with the current model and the attached SAE, and without features.

        `?from=live` takes those of the live steering. `?steering={"123": 4.0}` names features, `&sae_id=` their SAE,
        `&also=[…]` further parts. A message reports invalid features.
        """
        given = {**super().get_changeform_initial_data(request)}
        steering, source = given.pop("steering", None), given.pop("from", "")
        initial = {**Profile.objects.defaults(), **given}
        if steering is None:
            return initial if source == LIVE else initial | {"strengths": {}, "more": {}}
        try:
            strengths = parse_strengths(loads(steering))
        except (ValueError, Refused) as error:
            strengths = {}
            self.message_user(request, f"The features of the link are left out: {error}", messages.ERROR)
        return initial | _made_with(initial["sae_id"]) | {"strengths": strengths, "more": {}}

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.compatibility_view)
        return [path("compatibility/", view, name="profiles_profile_compatibility"), *super().get_urls()]

    def compatibility_view(self, request: HttpRequest) -> JsonResponse:
        """Answer why a profile with the query's fields could not steer now, and the current model and SAE."""
        if not (self.has_view_permission(request) or self.has_add_permission(request)):
            raise missing("profiles.view_profile")
        profile = _made_for(request.GET, _number(request.GET.get("feature")) or 0)
        sae = SAE.objects.filter(pk=profile.sae_id).first()
        known: dict[str, Any] = sae.for_table() if sae else {}
        if sae and sae.hook_name:  # the SAE's files have been read
            known |= {"layer": sae.layer, "sae_fingerprint": sae.fingerprint}
        return JsonResponse(_compatibility(profile) | {"sae": known})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Save the entered fields as a new profile if the edited profile was deleted meanwhile."""
        if request.method == "POST" and object_id and self.has_add_permission(request):
            object_id = object_id if Profile.objects.filter(pk=unquote(object_id)).exists() else None
        response: HttpResponse = super().changeform_view(request, object_id, form_url, extra_context)
        return response

    def save_model(self, request: HttpRequest, obj: Profile, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        is_steering = obj.is_active and {"strengths", *DOCUMENT_FIELDS} & {*form.changed_data}
        if is_steering and STAYING & {*request.POST}:
            self.message_user(request, f"{obj} is active: the saved strengths apply to all requests from now on.")

    def response_add(self, request: HttpRequest, obj: Profile, post_url_continue: str | None = None) -> HttpResponse:
        return self._saved(request, obj) or super().response_add(request, obj, post_url_continue)

    def response_change(self, request: HttpRequest, obj: Profile) -> HttpResponse:
        return self._saved(request, obj) or super().response_change(request, obj)

    def _saved(self, request: HttpRequest, profile: Profile) -> HttpResponse | None:
        """Return to the list with a message of what to do next; None after a button that leads to a form."""
        if STAYING & {*request.POST}:
            return None
        name = profile_link(profile)
        if profile.is_active:
            message = format_html("{} is saved. It is active: the saved strengths apply to all requests.", name)
        else:
            args = [quote(profile.pk)]
            url, tried = (reverse(f"admin:profiles_profile_{one}", args=args) for one in ("activate", "try_out"))
            message = format_html(
                '{} is saved. <a class="underline" href="{}">Try it in the playground</a>', name, tried
            )
            if request.user.has_perm("profiles.activate_profile"):
                link = '{}, or <a class="underline" href="{}" data-post role="button">activate it</a>'
                message = format_html(link, message, url)
        self.message_user(request, message, messages.SUCCESS)
        response: HttpResponse = self.response_post_save_change(request, profile)
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        form, saved = context["adminform"].form, context["original"]
        editable = "strengths" in form.fields
        entered = {name: form[name].value() if editable else getattr(saved, name) for name in MADE_FOR}
        features = indices(form["strengths"].value()) if editable else saved.strengths
        also = form["also"].value() if editable else saved.more.get("also")
        made_for = entered | {"also": also, "own": "" if features else "none"}
        context["media"] += FeatureStrengthsWidget().media  # a viewer's form has no field that adds it
        models = LanguageModel.objects.order_by("-is_current", "name")
        context |= {
            "tryit_sides": SIDES,
            "may_find_features": editable and may_find_features(request),
            "known_models": models.values_list("name", flat=True)[:CHOICES],
            "known_saes": SAE.objects.order_by("-is_attached", "id").values_list("id", flat=True)[:CHOICES],
            "begin": None if saved or request.method == "POST" else _beginning(request),
            "changed_by_hand": saved and saved.is_active and saved.differs_from(SteeringState.objects.load()),
            "history_url": saved and reverse("admin:profiles_profile_history", args=[quote(saved.pk)]),
            "profile_page": {
                "url": reverse("admin:profiles_profile_compatibility"),
                "saved": entered,
                "settings": {} if editable else saved.more,
                **_compatibility(_made_for(made_for, max(features, default=0))),
            },
        }
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response


def _beginning(request: HttpRequest) -> str:
    """The features of a new profile's form: those of the `live` steering, or `empty`; "" where there is no choice."""
    if request.GET.get("from") == LIVE:
        return LIVE
    return "empty" if "steering" not in request.GET and SteeringState.objects.load().document else ""


def profile_link(profile: Profile) -> SafeString:
    """A link to the form of a profile."""
    return format_html(
        '<a href="{}">{}</a>', reverse("admin:profiles_profile_change", args=[quote(profile.pk)]), profile
    )


def may_find_features(request: HttpRequest) -> bool:
    """True for users who may read texts and contrast sentences, which shows labels of features."""
    return request.user.has_perm("steering.view_featurelabel")


def _made_for(given: Mapping[str, Any], feature: int) -> Profile:
    """A profile with these fields as typed, and with this feature."""
    fields = {name: str(given.get(name) or "") for name in MADE_FOR}
    more = _parts(given.get("also", ""))
    strengths = {} if more and given.get("own") == "none" else {feature: 1.0}
    return Profile(**fields | {"layer": _number(given.get("layer"))}, strengths=strengths, more=more)


def _parts(given: Any) -> dict[str, Any]:
    """The further parts of a document, as JSON or parsed; none where they are wrong, which saving reports."""
    try:
        also = loads(given) if isinstance(given, str) and given else given or []
        return Steering.of_columns({}, {"also": also}).split()[1]
    except (ValueError, Refused):
        return {}


def _made_with(sae_id: str | None) -> dict[str, Any]:
    """Layer and fingerprint of an SAE; empty for an unknown one."""
    sae = SAE.objects.filter(pk=sae_id).first()
    return {"layer": sae.layer if sae else None, "sae_fingerprint": sae.fingerprint if sae else ""}


def _number(text: Any) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,10}", str(text)) else None


def _compatibility(profile: Profile) -> dict[str, Any]:
    """The current model and SAE (`here`), and the `reasons` why `profile` does not fit them."""
    model, sae = LanguageModel.objects.current(), SAE.objects.attached()
    here = {
        "model_id": model.name if model else "",
        "sae_id": sae.id if sae else "",
        "layer": sae.layer if sae else "",
        "sae_fingerprint": sae.fingerprint if sae else "",
    }
    return {"here": here, "reasons": reasons(profile, model, sae)}

"""The page that blends profiles: their weighted sum is shown, tried and saved as a new profile."""

from typing import Any

from django import forms
from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from profiles.admin.form_page import SIDES
from profiles.composition import summed
from profiles.files.formats import NAME_LENGTH
from profiles.live import in_words
from profiles.models import Profile
from steering.admin.permissions import missing
from steering.admin.widgets import FeatureStrengthsWidget, FeatureTable
from steering.document import Composition, Steering
from steering.errors import Refused
from steering.labels.models import FeatureLabel
from steering.models import SAE, LanguageModel
from steering.strict_json import loads

OFFERED = 500
"""Names that the page suggests; other names can be typed."""


class Blend(forms.Form):
    """Profiles with weights as JSON, and the name under which their sum is saved; no name saves nothing."""

    profiles = forms.CharField()
    name = forms.CharField(required=False)


def blend_page(admin: Any, request: HttpRequest) -> HttpResponse:
    """The page; of a POST the sum as JSON, or where it has a name the URL of the profile that was made of the sum."""
    if not admin.has_view_permission(request):
        raise missing("profiles.view_profile")
    return _answer(request) if request.method == "POST" else _page(admin, request)


def _page(admin: Any, request: HttpRequest) -> HttpResponse:
    model, sae = LanguageModel.objects.current(), SAE.objects.attached()
    fitting = Profile.objects.fitting(model, sae).order_by("name")
    table = FeatureTable(sae, request.user, read_only=True)
    reasons = [why for why, is_missing in (("No model is loaded.", not model),) if is_missing]
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "title": "Blend profiles",
        "offered": fitting.values_list("name", flat=True)[:OFFERED],
        "features": table.context({}),
        "media": FeatureStrengthsWidget().media,
        "tryit_sides": SIDES,
        "name_length": NAME_LENGTH,
        "page": {
            "chosen": request.GET.getlist("profile"),
            "here": {"model_id": model.name if model else ""},
            "reasons": reasons,
        },
    }
    return TemplateResponse(request, "admin/profiles/profile/blend.html", context)


def _answer(request: HttpRequest) -> JsonResponse:
    form = Blend(request.POST)
    try:
        profiles = loads(request.POST.get("profiles", ""))
        if not form.is_valid():
            return JsonResponse({"detail": "got no profiles, expected a JSON object of name: weight"}, status=400)
        sae = SAE.objects.attached()
        document, _ = summed(Composition.parse({"profiles": profiles}, field="blend"), sae, field="blend")
        if name := form.cleaned_data["name"]:
            return JsonResponse({"url": _save(name, document, profiles)})
        return JsonResponse(_shown(document, sae))
    except ValueError as error:
        return JsonResponse({"detail": f"profiles: this is not JSON: {error}"}, status=400)
    except Refused as error:
        # `field` and `code` as in other answers
        return JsonResponse({"detail": str(error), "code": error.code, **error.details}, status=error.status)


def _save(name: str, document: Steering, profiles: dict[str, float]) -> str:
    strengths, more = document.split()
    listed = ", ".join(f"{one} × {weight:g}" for one, weight in profiles.items())
    profile = Profile.objects.create_from(
        name=name, description=f"A blend of {listed}.", strengths=strengths, more=more
    )
    return reverse("admin:profiles_profile_change", args=[quote(profile.pk)])


def _shown(document: Steering, sae: SAE | None) -> dict[str, Any]:
    strengths, more = document.split()
    return {
        "strengths": strengths,
        "more": more,
        "unit": document.unit,
        "labels": FeatureLabel.objects.of(sae.pk if sae else None, strengths),
        "settings": in_words(more),
    }

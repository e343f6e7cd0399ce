"""The page of a feature in the admin, under its SAE. It is in this app since a worker computes a part of it."""

import json
from math import ceil, log1p
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods
from unfold.admin import ModelAdmin

from inference.broker.shares import count_for
from inference.reading.export import is_exportable
from inference.reading.facts import FeatureFacts
from profiles.models import Profile
from steering.admin.links import feature_url
from steering.admin.permissions import missing
from steering.errors import Refused
from steering.features.models import FeatureExample
from steering.labels.files import LABEL_LENGTH
from steering.models import SAE, EditedLabel
from steering.saes import NoSuchFeature
from steering.strengths import Strength, Value

LEVELS = 9
"""Shades of a token that fires; static/millm/feature.css has a colour of each."""
MOST_VERSIONS, MOST_PROFILES = 20, 20
SIGNIFICANT = "{:.4g}"
LINE_BREAKS = str.maketrans({"\n": "↵", "\r": "↵"})


class FeaturePages(ModelAdmin):
    """Adds a page of each feature to the admin of SAEs."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_http_methods(["GET", "HEAD", "POST"])(self.feature_view))
        page = path("<slug:sae_id>/features/<int:index>/", view, name="steering_sae_feature")
        return [page, *super().get_urls()]

    def feature_view(self, request: HttpRequest, sae_id: str, index: int) -> HttpResponse:
        """The page; a POST writes or deletes the edited label."""
        if not request.user.has_perm("steering.view_featurelabel"):
            raise missing("steering.view_featurelabel")
        sae = SAE.objects.filter(pk=sae_id).first()
        if sae is None:
            raise Http404(f"There is no SAE {sae_id}.")
        typed = request.POST.get("label")
        if request.method == "POST" and self._edited(request, sae, index):
            return redirect("admin:steering_sae_feature", sae_id, index)
        count_for(request)
        try:
            facts = FeatureFacts.of(sae, index)
        except NoSuchFeature as error:
            raise Http404(str(error)) from error
        except Refused as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect("admin:steering_sae_change", quote(sae.pk))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{'Vector' if sae.is_vectors else 'Feature'} {index} of {sae}",
            "facts": facts,
            "unavailable": facts.unavailable,
            **_shown(facts),
            **_links(request, facts),
            **_editing(request, facts, typed),
        }
        return TemplateResponse(request, "admin/steering/feature/page.html", context)

    def _edited(self, request: HttpRequest, sae: SAE, index: int) -> bool:
        """Do what the form asks for. Returns False, with a message, where the label is refused."""
        is_deletion = "delete" in request.POST
        needed = ["delete"] if is_deletion else ["add", "change"]
        if not _may(request, *needed):
            raise missing(*(f"steering.{action}_featurelabel" for action in needed))
        try:
            if is_deletion:
                EditedLabel.objects.remove(sae.pk, index)
            else:
                EditedLabel.objects.write(sae.pk, index, request.POST.get("label", ""))
        except Refused as error:
            self.message_user(request, f"Nothing was changed: {error}.", messages.ERROR)
            return False
        self.message_user(request, f"The label is {'deleted' if is_deletion else 'saved'}.", messages.SUCCESS)
        return True


def _may(request: HttpRequest, *actions: str) -> bool:
    return request.user.has_perms([f"steering.{action}_featurelabel" for action in actions])


def _shown(facts: FeatureFacts) -> dict[str, Any]:
    """Statistics, bars, tokens and examples for the template."""
    row = facts.row
    statistics = [
        ("Maximum", "The largest activation", _number(row.maximum)),
        ("Density", "The share of tokens on which it fires", _percent(row.density)),
        ("Mean", "The mean activation where it fires", _number(row.mean)),
    ]
    strongest = max([row.maximum or 0.0, *(example.maximum for example in facts.examples)])
    return {
        "statistics": statistics if row.statistics_source else [],
        "bars": _bars(row.histogram) if row.histogram else [],
        "edges": [_number(row.histogram["edges"][end]) for end in (0, -1)] if row.histogram else [],
        "sides": [("Promoted tokens", row.promoted), ("Suppressed tokens", row.suppressed)],
        "examples": [(example, _tokens(example, strongest)) for example in facts.examples],
    }


def _bars(histogram: dict[str, list[float]]) -> list[dict[str, Any]]:
    """The bars in percent of the width and of the height, which is logarithmic."""
    edges, counts = histogram["edges"], histogram["counts"]
    width, highest = (edges[-1] - edges[0]) or 1.0, log1p(max([*counts, 1]))
    return [
        {
            "x": f"{100 * (start - edges[0]) / width:.2f}",
            "width": f"{100 * (end - start) / width:.2f}",
            "height": f"{100 * log1p(count) / highest:.2f}",
            "y": f"{100 - 100 * log1p(count) / highest:.2f}",
            "title": f"{_number(start)} to {_number(end)}: {count:,} tokens",
        }
        for start, end, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _tokens(example: FeatureExample, strongest: float) -> list[tuple[str, int, str]]:
    """(text, level of its shade, activation) of each token; level 0 does not fire."""
    return [
        (token.translate(LINE_BREAKS), ceil(LEVELS * max(value, 0.0) / strongest), _number(value))
        for token, value in zip(example.tokens, example.values, strict=True)
    ]


def _strength(strength: Strength) -> str:
    return str(Value.stored(strength)) if isinstance(strength, dict) else SIGNIFICANT.format(strength)


def _number(value: float | None) -> str:
    return "not known" if value is None else SIGNIFICANT.format(value)


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{SIGNIFICANT.format(100 * share)} %"


def _links(request: HttpRequest, facts: FeatureFacts) -> dict[str, Any]:
    """Links to the features beside it, to a new profile with it, and to the profiles that use it."""
    sae, index = facts.sae, facts.index
    beside = [("Previous feature", f"← {index - 1}", index - 1), ("Next feature", f"{index + 1} →", index + 1)]
    links: dict[str, Any] = {
        "beside": [(title, text, feature_url(sae.pk, one)) for title, text, one in beside if 0 <= one < sae.d_sae],
        "sae_url": reverse("admin:steering_sae_change", args=[quote(sae.pk)]),
        "export_url": reverse("control_vector", args=[sae.pk, index]) if is_exportable(sae) else "",
    }
    if request.user.has_perm("profiles.add_profile"):
        strength = min((facts.row.maximum or 2.0) / 2, settings.STEERING_MAX_STRENGTH)
        steering = {"steering": json.dumps({str(index): float(SIGNIFICANT.format(strength))}), "sae_id": sae.pk}
        links["steer_url"] = f"{reverse('admin:profiles_profile_add')}?{urlencode(steering)}"
    if request.user.has_perms(["profiles.view_profile", "profiles.change_profile"]) and sae.is_in_use:
        swept = urlencode({"sae": sae.pk, "feature": str(index)})
        links["sweep_url"] = f"{reverse('admin:inference_sweep_add')}?{swept}"
    if request.user.has_perm("profiles.view_profile"):
        using = Profile.objects.filter(sae_id=sae.pk, strengths__has_key=str(index)).order_by("name")
        found = [(one, quote(one.pk), _strength(one.strengths[index])) for one in using[: MOST_PROFILES + 1]]
        links |= {"using": found[:MOST_PROFILES], "more_use": len(found) > MOST_PROFILES, "may_see_profiles": True}
    return links


def _editing(request: HttpRequest, facts: FeatureFacts, typed: str | None) -> dict[str, Any]:
    """The form of the edited label, and the label's history."""
    versions = list(EditedLabel.objects.versions(facts.sae.pk, facts.index)[:MOST_VERSIONS])
    edited = next((one["label"] for one in facts.labels if one["source"] == "edited"), "")
    return {
        "may_edit": _may(request, "add", "change"),
        "may_delete": bool(edited) and _may(request, "delete"),
        "edited": edited,
        "typed": edited if typed is None else typed,
        "label_length": LABEL_LENGTH,
        "versions": versions,
    }

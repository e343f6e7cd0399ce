"""Explore: a page of the admin that shows which features fire on a text, and finds features by contrasting sentences.

The page collects features for a new profile, which the form of profiles makes. It makes vectors of sentences by REST.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from inference.broker.heartbeats import is_served
from inference.models import LanguageModel
from profiles.admin.form_page import SIDES, may_find_features
from profiles.admin.search import fitting_names
from profiles.models import Profile
from steering.admin.permissions import missing
from steering.admin.widgets import FeatureStrengthsWidget, FeatureTable
from steering.models import SAE

MAX_OFFERED = 20
"""Profiles that are offered at once; a search finds the others."""
MAX_CHARACTERS = 20_000
"""Characters of a text on the page, which shows each token as a button."""
TABS = [("text", "Text"), ("contrast", "Contrast")]


@require_safe
def explore(request: HttpRequest) -> HttpResponse:
    """The page. REST answers what it asks: POST /api/activations, /api/features/contrast and /api/vectors."""
    _check(request)
    sae = SAE.objects.attached()
    table = FeatureTable(sae, request.user, id="collected")
    page = {"now": _state(), "user": request.user.pk, "max_characters": MAX_CHARACTERS}
    context = {
        **admin.site.each_context(request),
        "title": "Explore",
        "is_fullwidth": "1",
        "page": page,
        "tabs": TABS,
        "features": table.context({}),
        "tryit_sides": SIDES,
        "media": FeatureStrengthsWidget().media,
    }
    return TemplateResponse(request, "millm/explore.html", context)


@require_safe
def explore_now(request: HttpRequest) -> JsonResponse:
    """The state that changes while the page is open; `?search=` searches the offered profiles."""
    _check(request)
    return JsonResponse(_state(request.GET.get("search", "")))


def _check(request: HttpRequest) -> None:
    if not may_find_features(request):
        raise missing("steering.view_featurelabel")


def _state(search: str = "") -> dict[str, Any]:
    """The served model, the attached SAE, and the first fitting profiles with `search` in their name."""
    model, sae, active = LanguageModel.objects.current(), SAE.objects.attached(), Profile.objects.active()
    names, has_more = fitting_names(search, model, sae, most=MAX_OFFERED, with_active=True)
    return {
        "model": model.name if model else None,
        "sae": sae.for_table() if sae else None,
        "layers": model.num_layers if model else None,
        "layer": _layer(model, sae),
        "problem": _problem(model, sae),
        "active": active.name if active else None,
        "profiles": names,
        "has_more": has_more,
    }


def _layer(model: LanguageModel | None, sae: SAE | None) -> int | None:
    """The layer of a new vector where the user names none: that of the attached SAE, else the middle of the model."""
    if sae is not None:
        return sae.layer
    return model.num_layers // 2 if model and model.num_layers else None


def _problem(model: LanguageModel | None, sae: SAE | None) -> dict[str, str] | None:
    """The reason why nothing can be read, as a sentence, and the page that helps; None if texts can be read."""
    if model is None:
        return {"told": "No model is loaded, so nothing can be read yet.", "page": "models"}
    if not is_served(model.name):
        return {"told": model.why_unserved, "page": "models"}
    if sae is None:
        return {"told": "No SAE is attached, so there are no features to read yet.", "page": "saes"}
    if sae.is_vectors:
        return {"told": f"{sae} is a vector set, which reads no texts. Attach an SAE to read by.", "page": "saes"}
    return None

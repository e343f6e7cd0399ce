"""The playground: a chat in the admin under several steerings at once. All staff may use it.

It changes nothing but by REST, which saves strengths of a pane as a profile where the user may add profiles.
"""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from inference.broker.heartbeats import is_served
from inference.models import LanguageModel
from inference.openai.answers import system_fingerprint
from profiles.admin.search import fitting_names
from profiles.errors import ProfileNotFound
from profiles.models import Profile
from steering.admin.permissions import missing
from steering.admin.widgets import FeatureStrengthsWidget, FeatureTable
from steering.models import SAE, SteeringState

MAX_OFFERED = 20
"""Profiles that are offered at once; a search finds the others."""
MAX_SEED = 2**32 - 1
MAX_STOPS = 4
TABLE_ID = "strengths-PANE"
"""The id of the table of strengths in the page's template; the script puts the number of a pane into it."""
GREEDY = {"temperature": 0.0, "top_p": 1.0}
CREATIVE = {"temperature": 1.2, "top_p": 0.95}
"""More varied than the defaults of most models; `top_p` keeps the tokens out that such a temperature makes possible."""


@require_safe
def playground(request: HttpRequest) -> HttpResponse:
    """The page; its answers come from `admin_chat_completions`."""
    current = LanguageModel.objects.current()
    form = SamplingForm(initial=current.sampling_defaults if current else None)
    page = {
        "now": _state(current),
        "user": request.user.pk,
        "settings": {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()},
        "max_seed": MAX_SEED,
        "max_stops": MAX_STOPS,
    }
    context = {
        **admin.site.each_context(request),
        "title": "Playground",
        "is_fullwidth": "1",
        "form": form,
        "page": page,
        "features": FeatureTable(None, request.user, id=TABLE_ID).context({}),
        "media": FeatureStrengthsWidget().media,
    }
    return TemplateResponse(request, "millm/playground.html", context)


@require_safe
def playground_now(request: HttpRequest) -> JsonResponse:
    """The state that changes while the page is open; `?search=` searches the offered profiles."""
    return JsonResponse(_state(LanguageModel.objects.current(), request.GET.get("search", "")))


@require_safe
def playground_profile(request: HttpRequest) -> JsonResponse:
    """The document of the profile `?name=…`, of which a pane takes a copy: `features`, and the rest as `more`."""
    if not request.user.has_perm("profiles.view_profile"):
        raise missing("profiles.view_profile")
    try:
        profile = Profile.objects.named(request.GET.get("name", ""))
    except ProfileNotFound as error:
        return JsonResponse({"detail": str(error)}, status=404)
    return JsonResponse({"features": profile.strengths, "more": profile.more})


class SamplingForm(forms.Form):
    """The settings that the page sends with each message of all panes. The form itself is never submitted."""

    system = forms.CharField(
        label="System prompt", required=False, initial="", widget=UnfoldAdminTextareaWidget(attrs={"rows": 1})
    )
    temperature = forms.FloatField(
        min_value=0, max_value=2, step_size=0.01, initial=1.0, help_text="0 always picks the most likely token."
    )
    top_p = forms.FloatField(
        label="Top p",
        min_value=0,
        max_value=1,
        step_size=0.01,
        initial=1.0,
        help_text="Lower values drop unlikely tokens.",
    )
    max_tokens = forms.IntegerField(
        min_value=1,
        max_value=settings.INFERENCE_MAX_NEW_TOKENS,
        initial=min(256, settings.INFERENCE_MAX_NEW_TOKENS),
        help_text=f"Limit of an answer's length; at most {settings.INFERENCE_MAX_NEW_TOKENS}.",
    )
    seed = forms.IntegerField(min_value=0, max_value=MAX_SEED, initial=1, help_text="The same in all panes.")
    n = forms.IntegerField(
        label="Answers",
        min_value=1,
        max_value=settings.INFERENCE_MAX_CHOICES,
        initial=1,
        help_text="Of each pane, each with the next seed.",
    )
    frequency_penalty = forms.FloatField(
        min_value=-2, max_value=2, step_size=0.01, initial=0.0, help_text="Above 0: fewer repetitions, by their count."
    )
    presence_penalty = forms.FloatField(
        min_value=-2, max_value=2, step_size=0.01, initial=0.0, help_text="Above 0: fewer repetitions."
    )
    stop = forms.CharField(
        label="Stop sequences",
        required=False,
        initial="",
        help_text=f"Up to {MAX_STOPS} texts, one per line; \\n stands for a new line.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 1}),
    )
    tools = forms.CharField(
        label="Functions",
        required=False,
        initial="",
        help_text="What the model may call: a list of OpenAI's tools, as JSON.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 1}),
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, field in self.fields.items():
            number = not isinstance(field, forms.CharField)
            if number:
                attrs = field.widget.attrs
                field.widget = UnfoldAdminDecimalFieldWidget(attrs)
            field.widget.attrs["x-model.number" if number else "x-model"] = f"settings.{name}"
            help_id = f" id_{name}_helptext" if field.help_text else ""
            field.widget.attrs["aria-describedby"] = f"id_{name}_wrong{help_id}"


def _state(model: LanguageModel | None, search: str = "") -> dict[str, Any]:
    """The current model and SAE, the live steering, and the first fitting profiles with `search` in their name."""
    active, sae = Profile.objects.active(), SAE.objects.attached()
    names, has_more = fitting_names(search, model, sae, most=MAX_OFFERED, with_active=True)
    return {
        "model": model.name if model else None,
        "fingerprint": system_fingerprint(model.version, None) if model else None,
        "sae": {**sae.for_table(), "fingerprint": sae.fingerprint} if sae else None,
        "presets": _presets(model),
        "problem": _problem(model),
        "live": _live(active),
        "active": active.name if active else None,
        "profiles": names,
        "has_more": has_more,
    }


def _presets(model: LanguageModel | None) -> dict[str, dict[str, float]]:
    """The settings of each preset. `default` has the model's own, else OpenAI's: temperature 1, top_p 1."""
    given = model.sampling_defaults if model else {}
    own = {"temperature": given.get("temperature", 1.0), "top_p": given.get("top_p", 1.0)}
    return {"greedy": GREEDY, "default": own, "creative": CREATIVE}


def _problem(model: LanguageModel | None) -> str | None:
    """The reason why no message would be answered, as a sentence; None if messages are answered."""
    if model is None:
        return "No model is loaded, so messages cannot be answered yet."
    return None if is_served(model.name) else model.why_unserved


def _live(active: Profile | None) -> str:
    """The live steering in words: "currently off"."""
    state = SteeringState.objects.load()
    count = state.document.number
    if not (state.enabled and count):
        return "currently off"
    if active is not None and not active.differs_from(state):
        return f"set by {active}"
    return f"{count} feature{'' if count == 1 else 's'}"

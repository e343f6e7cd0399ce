"""The playground: a chat in the admin under two steerings at once. It changes nothing; all staff may use it."""

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
from profiles.admin.search import fitting_names
from profiles.models import Profile
from steering.models import SAE, SteeringState

MAX_OFFERED = 20
"""Profiles that are offered at once; a search finds the others."""
MAX_SEED = 2**32 - 1
MAX_STOPS = 4


@require_safe
def playground(request: HttpRequest) -> HttpResponse:
    """The page; its answers come from `admin_chat_completions`."""
    form = SamplingForm()
    page = {
        "now": _state(),
        "user": request.user.pk,
        "settings": {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()},
        "max_seed": MAX_SEED,
        "max_stops": MAX_STOPS,
    }
    context = {**admin.site.each_context(request), "title": "Playground", "is_fullwidth": "1", "form": form}
    return TemplateResponse(request, "millm/playground.html", {**context, "page": page})


@require_safe
def playground_now(request: HttpRequest) -> JsonResponse:
    """The state that changes while the page is open; `?search=` searches the offered profiles."""
    return JsonResponse(_state(request.GET.get("search", "")))


class SamplingForm(forms.Form):
    """The settings that the page sends with each message of both panes. The form itself is never submitted."""

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
        help_text="Lower values exclude unlikely tokens.",
    )
    max_tokens = forms.IntegerField(
        min_value=1,
        max_value=settings.INFERENCE_MAX_NEW_TOKENS,
        initial=min(256, settings.INFERENCE_MAX_NEW_TOKENS),
        help_text=f"Limit of an answer's length; at most {settings.INFERENCE_MAX_NEW_TOKENS}.",
    )
    seed = forms.IntegerField(min_value=0, max_value=MAX_SEED, initial=1, help_text="Used for both panes.")
    frequency_penalty = forms.FloatField(
        min_value=-2, max_value=2, step_size=0.01, initial=0.0, help_text="Above 0: fewer repetitions, by their count."
    )
    presence_penalty = forms.FloatField(
        min_value=-2, max_value=2, step_size=0.01, initial=0.0, help_text="Above 0: fewer repetitions."
    )
    stop = forms.CharField(
        label="Stop at",
        required=False,
        initial="",
        help_text=f"Up to {MAX_STOPS} texts, one per line; \\n stands for a new line.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 1}),
    )

    def __init__(self) -> None:
        super().__init__()
        for name, field in self.fields.items():
            number = not isinstance(field, forms.CharField)
            if number:
                attrs = field.widget.attrs
                field.widget = UnfoldAdminDecimalFieldWidget(attrs)
            field.widget.attrs["x-model.number" if number else "x-model"] = f"settings.{name}"


def _state(search: str = "") -> dict[str, Any]:
    """The served model, the live steering, and the first fitting profiles with `search` in their name."""
    model, active = LanguageModel.objects.current(), Profile.objects.active()
    names, has_more = fitting_names(search, model, SAE.objects.attached(), most=MAX_OFFERED, with_active=True)
    return {
        "model": model.name if model else None,
        "problem": _problem(model),
        "live": _live(active),
        "active": active.name if active else None,
        "profiles": names,
        "has_more": has_more,
    }


def _problem(model: LanguageModel | None) -> str | None:
    """The reason why no message would be answered, as a sentence; None if messages are answered."""
    if model is None:
        return "No model is loaded, so messages cannot be answered yet."
    return None if is_served(model.name) else model.why_unserved


def _live(active: Profile | None) -> str:
    """The live steering as a predicate: "steers nothing"."""
    state = SteeringState.objects.load()
    count = state.document.number
    if not (state.enabled and count):
        return "steers nothing"
    if active is not None and not active.differs_from(state):
        return f"steers by {active}"
    return f"steers {count} feature{'' if count == 1 else 's'}"

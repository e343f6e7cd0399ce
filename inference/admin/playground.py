"""The playground: a chat in the admin, answered by two steerings at once. It changes nothing: all staff may chat."""

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
from profiles.models import Profile
from steering.models import SAE, SteeringState

MAX_OFFERED = 20
"""Profiles offered at once: a search finds the others."""
MAX_SEED = 2**32 - 1
MAX_STOPS = 4


@require_safe
def playground(request: HttpRequest) -> HttpResponse:
    """The page; its answers come from `admin_chat_completions`."""
    form = SamplingForm()
    page = {
        "now": _now(),
        "user": request.user.pk,
        "settings": {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()},
        "max_seed": MAX_SEED,
        "max_stops": MAX_STOPS,
    }
    context = {**admin.site.each_context(request), "title": "Playground", "is_fullwidth": "1", "form": form}
    return TemplateResponse(request, "millm/playground.html", {**context, "page": page})


@require_safe
def playground_now(request: HttpRequest) -> JsonResponse:
    """What changes while the page is open; `?search=` is for the profiles to choose from."""
    return JsonResponse(_now(request.GET.get("search", "")))


class SamplingForm(forms.Form):
    """What is sent with each message to both panes. It lives in the page and is never submitted."""

    system = forms.CharField(
        label="System prompt", required=False, initial="", widget=UnfoldAdminTextareaWidget(attrs={"rows": 1})
    )
    temperature = forms.FloatField(
        min_value=0, max_value=2, step_size=0.01, initial=1.0, help_text="0 always takes the likeliest token."
    )
    top_p = forms.FloatField(
        label="Top p",
        min_value=0,
        max_value=1,
        step_size=0.01,
        initial=1.0,
        help_text="Less leaves out what is unlikely.",
    )
    max_tokens = forms.IntegerField(
        min_value=1,
        max_value=settings.INFERENCE_MAX_NEW_TOKENS,
        initial=min(256, settings.INFERENCE_MAX_NEW_TOKENS),
        help_text=f"The longest answer: up to {settings.INFERENCE_MAX_NEW_TOKENS}.",
    )
    seed = forms.IntegerField(min_value=0, max_value=MAX_SEED, initial=1, help_text="The same for both panes.")
    frequency_penalty = forms.FloatField(
        min_value=-2, max_value=2, step_size=0.01, initial=0.0, help_text="Above 0 repeats less, by count."
    )
    presence_penalty = forms.FloatField(
        min_value=-2, max_value=2, step_size=0.01, initial=0.0, help_text="Above 0 repeats less."
    )
    stop = forms.CharField(
        label="Stop at",
        required=False,
        initial="",
        help_text=f"Up to {MAX_STOPS} texts, one per line; \\n is a new line.",
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


def _now(search: str = "") -> dict[str, Any]:
    """What is served and what steers now, and the first profiles with `search` in their name that can be asked for."""
    model, active = LanguageModel.objects.current(), Profile.objects.active()
    named = Profile.objects.filter(name__icontains=search.replace("\0", "")).order_by("name")
    fitting = named.fitting(model, SAE.objects.attached()).values_list("name", flat=True)
    offered = [*fitting.filter(is_active=True), *fitting.filter(is_active=False)[: MAX_OFFERED + 1]]
    return {
        "model": model.name if model else None,
        "problem": _problem(model),
        "live": _live(active),
        "active": active.name if active else None,
        "profiles": offered[:MAX_OFFERED],
        "has_more": len(offered) > MAX_OFFERED,
    }


def _problem(model: LanguageModel | None) -> str | None:
    """Why nothing would be answered, in words."""
    if model is None:
        return "No model is loaded, so nothing can be asked yet."
    return None if is_served(model.name) else model.why_unserved


def _live(active: Profile | None) -> str:
    """What the live steering is, in words."""
    state = SteeringState.objects.load()
    if not (state.enabled and state.strengths):
        return "steers nothing"
    if active is not None and not active.differs_from(state):
        return f"steers by {active}"
    return f"steers {len(state.strengths)} feature{'' if len(state.strengths) == 1 else 's'}"

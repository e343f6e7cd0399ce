"""Sweeps in the admin: the list, the form of a new one, and the page with the answers and the charts."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from inference.admin.deletion import DeletionAdmin
from inference.admin.progress import ProgressAdmin, RowAction, live_column
from inference.admin.sweep_chart import charts, figures
from inference.admin.sweep_form import SweepForm
from inference.api.sweeps import LOOK, MAKE
from inference.models import LanguageModel, Sweep, SweepCell
from inference.sweeps.effects import LEAST_ANSWERS, MOST_PERPLEXITY, MOST_REPEATS
from profiles.admin.search import fitting_names
from profiles.models import Profile
from steering.admin.actions import posted_action
from steering.admin.links import feature_url
from steering.models import SAE, Feature
from steering.strengths import INDEX

MAX_OFFERED = 200
SHORT = 90
"""Characters of an answer in the grid; the rest unfolds."""
HEAVY = ("document", "prompts")


@admin.register(Sweep)
class SweepAdmin(DeletionAdmin, ProgressAdmin):
    list_filter = ["status", "model_name"]
    search_fields = ["profile", "sae_id", "model_name"]
    actions_row = ["cancel", "resume"]
    remedy = "Fix this and resume; the answers so far are kept."

    # --- permissions: those of profiles ---

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(LOOK)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perms([LOOK, MAKE])

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    # --- the list ---

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Sweep]":
        return super().get_queryset(request).defer(*HEAVY)  # type: ignore[no-any-return]

    @display(description="Sweep", header=True, ordering="id")
    def about(self, sweep: Sweep) -> list[str]:
        varied = sweep.subject[0].upper() + sweep.subject[1:]
        return [f"{sweep.pk}: {varied}", f"{_values(sweep)}; {sweep.total:,} answers of {sweep.model_name}"]

    def columns(self, request: HttpRequest) -> list[Any]:
        return [
            "about",
            live_column("Status", self.state, "status"),
            live_column("Answers", lambda sweep: f"{sweep.ended:,} of {sweep.total:,}", "ended"),
            "asked_by",
            "created_at",
            live_column("Actions", lambda sweep: self.buttons(request, sweep)),
        ]

    def badge(self, sweep: Sweep) -> str:
        return ""

    def available_actions(self, sweep: Sweep) -> list[RowAction]:
        if sweep.is_under_way:
            return [RowAction("cancel", "Cancel")]
        if sweep.status == Sweep.Status.DONE and not sweep.failed():
            return []
        return [RowAction("resume", "Resume", is_primary=True)]

    # --- the page of a sweep ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page: the state, the effects and the answers. Nothing of a sweep can be edited."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        sweep = self.get_object(request, unquote(object_id))
        if sweep is None:
            missing: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return missing
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "sweep": sweep,
            "title": f"Sweep {sweep.pk}: {sweep.subject}",
            "is_fullwidth": "1",
            "panel": super().panel(request, sweep),
            "results": self.results(sweep),
            "may_change": self.has_change_permission(request, sweep),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/inference/sweep/page.html", context)

    def panel(self, request: HttpRequest, row: Sweep) -> str:
        """The parts of the page that change while the sweep is in progress."""
        return super().panel(request, row) + self.results(row)

    def facts(self, request: HttpRequest, sweep: Sweep) -> list[tuple[str, Any]]:
        words = ", ".join(f"“{word}”" for word in sweep.words)
        return [
            ("What varies", _subject_link(sweep)),
            ("Values", _values(sweep)),
            ("Answers", f"{sweep.ended:,} of {sweep.total:,}{_failed(sweep)}"),
            ("Model", sweep.model_name),
            ("Seeds", ", ".join(map(str, sweep.seeds))),
            ("Words to watch", words or "none"),
            ("Sampling", _sampling(sweep)),
            ("Made by", sweep.asked_by or "-"),
        ]

    def results(self, sweep: Sweep) -> str:
        """The charts, the table of effects, and the grid of answers, as HTML."""
        effects = sweep.effects()
        broken = [f"{one.value:g}" for one in effects if one.is_broken]
        context = {
            "sweep": sweep,
            "charts": charts(sweep, effects),
            "figures": figures(sweep, effects),
            "unit": "Intensity" if sweep.feature is None else "Strength",
            "times": MOST_PERPLEXITY,
            "share": f"{100 * MOST_REPEATS:g}",
            "least": LEAST_ANSWERS,
            "planned": len(sweep.prompts) * len(sweep.seeds),
            "broken": ", ".join(broken),
            "columns": [(at, prompt, seed) for at, prompt in _prompts(sweep) for seed in sweep.seeds],
            "rows": _grid(sweep),
        }
        return render_to_string("admin/inference/sweep/results.html", context)

    # --- a new sweep ---

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form of a new sweep. `?profile=` names a profile, `?sae=&feature=` a feature."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = SweepForm(request.POST) if request.method == "POST" else SweepForm(initial=_initial(request))
        if form.is_valid() and (sweep := form.save()):
            self.log_addition(request, sweep, f"Sweep of the {sweep.subject} begun.")
            message = f"Sweep {sweep.pk} is queued: it runs behind the requests of users."
            self.message_user(request, message, messages.SUCCESS)
            return redirect("admin:inference_sweep_change", sweep.pk)
        fitting, _ = fitting_names("", LanguageModel.objects.current(), SAE.objects.attached(), most=MAX_OFFERED)
        active = Profile.objects.active()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "New sweep",
            "form": form,
            "varies": form["varies"].value() or "profile",
            "profiles": [*([active.name] if active else []), *fitting],
            "saes": [sae.pk for sae in SAE.objects.all_attached()],
            "list_url": reverse("admin:inference_sweep_changelist"),
        }
        return TemplateResponse(request, "admin/inference/sweep/form.html", context)

    # --- actions ---

    @posted_action("Cancel", permissions=["change"], icon="close")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, Sweep.cancel, "Cancelled {}; its answers so far are kept.")

    @posted_action("Resume", permissions=["change"], icon="play_arrow")
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, Sweep.resume, "Resumed {}.")

    def deleted_lines(self, rows: list[Sweep]) -> list[str]:
        return [f"Sweep {sweep.pk}, {sweep.subject}, with {sweep.ended:,} answers" for sweep in rows]

    def kept_lines(self, rows: list[Sweep]) -> list[str]:
        return ["The profiles and SAEs that were swept."]


def _initial(request: HttpRequest) -> dict[str, Any]:
    """The fields that the link and the state of the server determine."""
    model, active = LanguageModel.objects.current(), Profile.objects.active()
    defaults = model.sampling_defaults if model else {}
    initial: dict[str, Any] = {name: defaults[name] for name in ("temperature", "top_p") if name in defaults}
    sae, feature = request.GET.get("sae", ""), request.GET.get("feature", "")
    if INDEX.match(feature) and int(feature) < 2**31:
        known = Feature.objects.filter(sae=sae, index=int(feature)).values_list("maximum", flat=True).first()
        most = float(f"{known:.2g}") if known else 10.0
        return initial | {"varies": "feature", "sae": sae, "feature": feature, "start": 0, "end": most}
    return initial | {"profile": request.GET.get("profile", active.name if active else "")}


def _subject_link(sweep: Sweep) -> str:
    if sweep.feature is not None:
        url = feature_url(sweep.sae_id, sweep.feature)
        return format_html('<a class="text-link" href="{}">{}</a>', url, sweep.subject)
    if profile := Profile.objects.filter(name=sweep.profile).first():
        url = reverse("admin:profiles_profile_change", args=[quote(profile.pk)])
        return format_html('<a class="text-link" href="{}">{}</a>', url, sweep.subject)
    return sweep.subject


def _values(sweep: Sweep) -> str:
    return f"{len(sweep.values)} values from {sweep.values[0]:g} to {sweep.values[-1]:g}"


def _failed(sweep: Sweep) -> str:
    return f", {failed:,} with an error" if (failed := sweep.failed()) else ""


def _sampling(sweep: Sweep) -> str:
    shown = ", ".join(f"{name} {sweep.sampling[name]:g}" for name in ("temperature", "top_p"))
    return f"{shown}, up to {sweep.max_tokens:,} tokens"


def _prompts(sweep: Sweep) -> list[tuple[int, str]]:
    """(number from 1, text) of each prompt; of a conversation its last message."""
    texts = [one if isinstance(one, str) else str(one[-1].get("content", "")) for one in sweep.prompts]
    return list(enumerate(texts, 1))


def _grid(sweep: Sweep) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """A row for each value: an answer, or None, for each prompt and seed."""
    known = {(cell.value_at, cell.prompt_at, cell.seed): _shown(cell) for cell in sweep.cells.defer("token_ids")}
    places = [(at, seed) for at in range(len(sweep.prompts)) for seed in sweep.seeds]
    return [(f"{value:g}", [known.get((row, *place)) for place in places]) for row, value in enumerate(sweep.values)]


def _shown(cell: SweepCell) -> dict[str, Any]:
    text = " ".join(cell.text.split())
    perplexity = "unknown" if cell.perplexity is None else f"{cell.perplexity:.3g}"
    repeated = "unknown" if cell.repeats is None else f"{100 * cell.repeats:.3g} %"
    return {
        "short": text if len(text) <= SHORT else f"{text[:SHORT].rstrip()}…",
        "text": cell.text,
        "error": cell.error,
        "about": f"{cell.tokens} tokens, perplexity {perplexity}, repeated 4-grams {repeated}",
    }

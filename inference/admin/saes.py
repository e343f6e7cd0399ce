"""The admin of SAEs. It is in this app since attaching an SAE needs the current model."""

from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Count, Model
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.decorators import display

from inference.admin import consequences
from inference.admin.deletion import DeletionAdmin
from inference.admin.features import FeaturePages
from inference.admin.forms import RegisterSAEForm
from inference.admin.measuring import MeasuringPages
from inference.admin.progress import ProgressAdmin, RowAction, live_column
from inference.models import LanguageModel
from profiles.current import attach_sae, detach_sae
from profiles.models import Profile
from steering.admin.actions import posted_action
from steering.errors import Refused
from steering.hub.sources import is_folder
from steering.labels.pagination import COUNT_LIMIT
from steering.models import SAE, Feature, FeatureLabel

Status = SAE.Status


@admin.register(SAE)
class SAEAdmin(FeaturePages, MeasuringPages, DeletionAdmin, ProgressAdmin):
    list_filter = ["is_attached", "is_also_attached", "status", "model_name", "layer"]
    search_fields = ["id", "source"]
    actions_row = ["attach", "attach_also", "detach", "download", "cancel", *MeasuringPages.measuring_actions]
    add_form_template = "admin/steering/sae/register.html"
    remedy = "Fix this and try again; a download resumes where it stopped."

    # --- the list and the page ---

    @display(description="SAE", header=True, ordering="id")
    def about(self, sae: SAE) -> list[str]:
        return [sae.id, f"{sae.source}/{sae.path}".rstrip("/")]

    def columns(self, request: HttpRequest) -> list[Any]:
        current = _current(request)
        return [
            "about",
            live_column("Status", self.state, "status"),
            live_column("Fits", lambda sae: fit_badge(current, sae)),
            live_column("Hook point", _trained_at, "layer"),
            live_column("Features", lambda sae: f"{sae.d_sae:,}" if sae.d_sae else "", "d_sae"),
            live_column("Actions", lambda sae: self.buttons(request, sae)),
        ]

    def buttons(self, request: HttpRequest, row: SAE) -> str:
        row.is_misfit = _misfit(_current(request), row) != ""  # type: ignore[attr-defined]
        return super().buttons(request, row)

    def badge(self, sae: SAE) -> str:
        return "attached" if sae.is_attached else "also attached" if sae.is_also_attached else ""

    def available_actions(self, sae: SAE) -> list[RowAction]:
        is_misfit = getattr(sae, "is_misfit", False)
        attach, detach = RowAction("attach", "Attach", is_primary=not is_misfit), RowAction("detach", "Detach")
        if sae.status == Status.READY:
            prepare = [] if sae.fingerprint or sae.progress else [RowAction("download", "Prepare")]
            if sae.is_also_attached:
                return [*prepare, detach, RowAction("attach", "Attach as main")]
            return [*prepare, *([detach] if sae.is_attached else [attach, RowAction("attach_also", "Also attach")])]
        if sae.is_under_way:
            return [RowAction("cancel", "Cancel")]
        download = RowAction("download", "Try again" if sae.status == Status.ERROR else "Download", is_primary=True)
        return [download, detach] if sae.is_in_use else [download]

    def facts(self, request: HttpRequest, sae: SAE) -> list[tuple[str, Any]]:
        return [
            ("Source", sae.source),
            ("Path", sae.path or "(root folder)"),
            *([] if is_folder(sae.source) else [("Revision", sae.revision or "main")]),
            ("Fits", fit_badge(LanguageModel.objects.current(), sae, in_full=True)),
            *(_facts_of_files(sae) if sae.hook_name else [("Contents", "known after the download")]),
            ("Feature labels", self._rows(request, sae, FeatureLabel, "labels", "Search labels")),
            ("Statistics", self._rows(request, sae, Feature, "features", "Features")),
            *([] if sae.is_vectors else [("Measured", self.measuring(request, sae))]),
        ]

    def _rows(self, request: HttpRequest, sae: SAE, model: type[Model], rows: str, link: str) -> str:
        """The number of rows of `model` that the SAE has, with links to their list and to their import."""
        page, name = self.admin_site.get_model_admin(model), model._meta.model_name
        count = model._default_manager.filter(sae=sae).order_by()[:COUNT_LIMIT].count()
        context = {
            "count": count,
            "is_all": count < COUNT_LIMIT,
            "link": link,
            "import_link": f"Import {rows}",
            "list_url": f"{reverse(f'admin:steering_{name}_changelist')}?{urlencode({'sae__id__exact': sae.pk})}",
            "import_url": f"{reverse(f'admin:steering_{name}_import_{rows}')}?{urlencode({'sae': sae.pk})}",
            "may_list": page.has_view_permission(request),
            "may_import": page.has_import_permission(request) and bool(sae.d_sae),
        }
        return render_to_string("admin/steering/sae/rows.html", context)

    # --- the form registers an SAE; afterwards no field can be changed, since all fields come from the files ---

    def get_form(self, request: HttpRequest, obj: SAE | None = None, change: bool = False, **kwargs: Any) -> Any:
        own = {} if obj else {"form": RegisterSAEForm}
        return super().get_form(request, obj, change, **own, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: SAE | None = None) -> Any:
        return [] if obj else [(None, {"fields": RegisterSAEForm.Meta.fields})]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context |= {"show_save": not context.get("original")}
        return super().render_change_form(request, context, *args, **kwargs)

    def registration_message(self, sae: SAE) -> str:
        if sae.status == Status.READY:
            what = "vectors" if sae.is_vectors else "features"
            return f"{sae} is registered and ready: attach it to steer by its {what}."
        return f"{sae} is registered. Its download has begun."

    def save_model(self, request: HttpRequest, obj: SAE, form: Any, change: bool) -> None:
        """Do nothing: the form has saved the SAE."""

    # --- actions ---

    @posted_action("Attach", permissions=["change"], icon="link")
    def attach(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            attach_sae,
            "{} is attached.",
            consequences=consequences.of_attaching,
            question="Attach {}?",
        )

    @posted_action("Also attach", permissions=["change"], icon="add_link")
    def attach_also(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, partial(attach_sae, also=True), "{} is also attached. The main SAE stays.")

    @posted_action("Detach", permissions=["change"], icon="link_off")
    def detach(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            detach_sae,
            "{} is detached.",
            consequences=consequences.of_detaching,
            question="Detach {}?",
        )

    @posted_action("Download", permissions=["change"], icon="download")
    def download(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, SAE.prepare, "The preparation of {} has begun.")

    @posted_action("Cancel", permissions=["change"], icon="close")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, SAE.cancel, "The download of {} is cancelled; what was downloaded is kept.")

    # --- deletion ---

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Refuse users who may not delete labels: an SAE is deleted with its labels."""
        rows = list(objs)
        lines, counts, needed, refusals = super().get_deleted_objects(rows, request)
        for sae in rows:
            if not sae.may_be_deleted_by(request.user):
                refusals.append(f"SAE {sae} has labels: deleting it needs the permission to delete labels too")
        return lines, counts, needed, refusals

    def deleted_lines(self, rows: list[SAE]) -> list[str]:
        labels, features = (_counts(model, rows) for model in (FeatureLabel, Feature))
        return [
            f"SAE {sae}"
            + (f", with its {labels[sae.pk]:,} labels" if sae.pk in labels else "")
            + (f", with statistics and examples of {features[sae.pk]:,} features" if sae.pk in features else "")
            for sae in rows
        ]

    def kept_lines(self, rows: list[SAE]) -> list[str]:
        lines = ["The files, in their folder or in the hub's cache."]
        if count := Profile.objects.filter(sae_id__in=[sae.pk for sae in rows]).count():
            lines.append(f"The SAE's profiles ({count:,}). They cannot be activated without the SAE.")
        return lines


def _counts(model: type[Model], saes: list[SAE]) -> dict[str, int]:
    """{SAE: its number of rows of `model`} of those that have any."""
    groups = model._default_manager.filter(sae__in=saes).order_by().values("sae").annotate(count=Count("pk"))
    return {group["sae"]: group["count"] for group in groups}


def _facts_of_files(sae: SAE) -> list[tuple[str, Any]]:
    return [
        ("Format", f"{sae.format}, {sae.architecture}".rstrip(", ")),
        ("Hook point", sae.hook_name),
        ("Layers" if len(sae.layers) > 1 else "Layer", ", ".join(map(str, sae.layers))),
        ("Vectors" if sae.is_vectors else "Features", f"{sae.d_sae:,}"),
        ("Residual stream", f"{sae.d_in:,} wide"),
        ("Trained on", sae.model_name or "its files do not say"),
        ("Fingerprint", sae.fingerprint or "not computed yet"),
    ]


def _trained_at(sae: SAE) -> str:
    """The hook point, and below it the model that the SAE was trained on."""
    if not sae.hook_name:
        return sae.model_name
    return format_html('{}<p class="progress-second text-subtle">{}</p>', _hook_point(sae), sae.model_name)


def _hook_point(sae: SAE) -> str:
    if not sae.hook_name:
        return ""
    layers = f"layers {sae.layers[0]} to {sae.layers[-1]}" if len(sae.layers) > 1 else f"layer {sae.layer}"
    return f"{layers}, {sae.hook_name.removeprefix(f'blocks.{sae.layer}.')}"


def _current(request: Any) -> LanguageModel | None:
    """The current model, which is read once for all rows of a list."""
    if not hasattr(request, "current_model"):
        request.current_model = LanguageModel.objects.current()
    current: LanguageModel | None = request.current_model
    return current


def _misfit(current: LanguageModel | None, sae: SAE) -> str:
    """Why `sae` does not fit the current model; empty where it fits, or no model is current."""
    try:
        if current is not None:
            current.check_fits(sae)
    except Refused as error:
        return str(error)
    return ""


def fit_badge(current: LanguageModel | None, sae: SAE, *, in_full: bool = False) -> str:
    """A badge that shows if `sae` fits the current model; the reason is a tooltip, or with `in_full` a text."""
    text, variant, icon, reason = "fits", "success", "check", f"It can be attached to {current}."
    if sae.status != Status.READY:
        text, variant, icon, reason = "not known", "default", "help", "This is known when the SAE is ready."
    elif current is None:
        text, variant, icon, reason = "no model", "default", "help", "No model is current: load one first."
    elif misfit := _misfit(current, sae):
        text, variant, icon, reason = "does not fit", "warning", "block", misfit
    context = {"id": sae.pk, "text": text, "variant": variant, "icon": icon, "reason": reason, "in_full": in_full}
    return render_to_string("admin/steering/sae/fit.html", context)

"""The admin of language models."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from unfold.decorators import display

from inference.admin import consequences
from inference.admin.deletion import DeletionAdmin
from inference.admin.forms import RegisterModelForm
from inference.admin.progress import ProgressAdmin, RowAction, live_column
from inference.admin.setups import SetupsAdmin, before, setup_url, with_way_back
from inference.model_files import weights_size
from inference.models import LanguageModel
from profiles.models import Profile
from steering.admin.actions import posted_action
from steering.errors import Refused
from steering.hub.sources import is_folder

Status = LanguageModel.Status


@admin.register(LanguageModel)
class LanguageModelAdmin(SetupsAdmin, DeletionAdmin, ProgressAdmin):
    list_filter = ["is_current"]
    search_fields = ["name", "source"]
    actions_row = ["load", "unload", "cancel"]
    remedy = "Fix this and load it again; a download resumes where it stopped."

    # --- the list and the page ---

    @display(description="Model", header=True, ordering="name")
    def about(self, model: LanguageModel) -> list[str]:
        return [model.name, model.source]

    def columns(self, request: HttpRequest) -> list[Any]:
        return [
            "about",
            live_column("Status", self.state),
            "dtype",
            "device",
            "model_type",
            live_column("Actions", lambda model: self.buttons(request, model)),
        ]

    def badge(self, model: LanguageModel) -> str:
        return "current" if model.is_current else ""

    def available_actions(self, model: LanguageModel) -> list[RowAction]:
        if not model.is_current:
            return [RowAction("load", "Load", is_primary=True)]
        if model.is_under_way:
            return [RowAction("cancel", "Cancel")]
        again = [RowAction("load", "Load again", is_primary=True)] if model.status != Status.READY else []
        return [*again, RowAction("unload", "Unload")]

    def further_buttons(self, request: HttpRequest, row: LanguageModel) -> list[tuple[RowAction, str, str]]:
        """The way back, where the load of the current model failed."""
        has_failed = row.is_current and row.status == Status.ERROR
        setup = before(request.user) if has_failed else None
        way = RowAction("restore", "Back to the previous setup", of_row=False)
        return [(way, "undo", setup_url(setup))] if setup else []

    def told(self, request: HttpRequest, message: str) -> str:
        return with_way_back(message, request.user)

    def facts(self, request: HttpRequest, model: LanguageModel) -> list[tuple[str, Any]]:
        return [
            ("Source", model.source),
            *([] if is_folder(model.source) else [("Revision", model.revision or "main")]),
            ("Architecture", model.model_type),
            ("Decoder blocks", model.num_layers),
            ("Residual stream", f"{model.d_model:,} wide"),
            ("Context", f"{model.context_length:,} tokens"),
            *([("Sampling by default", _sampling(model))] if model.sampling_defaults else []),
            ("Weights", _weights(model)),
            ("Current model", "yes" if model.is_current else "no"),
        ]

    # --- the forms ---

    def get_form(
        self, request: HttpRequest, obj: LanguageModel | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        own = {} if obj else {"form": RegisterModelForm}
        return super().get_form(request, obj, change, **own, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: LanguageModel | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": RegisterModelForm.Meta.fields})]
        note = "Workers load the current model again when these fields change." if obj.is_current else ""
        return [
            ("Load options", {"fields": ["dtype", "device"], "description": note}),
            ("Calls and reasoning", {"fields": ["answer_form"]}),
        ]

    def registration_message(self, model: LanguageModel) -> str:
        return f"{model} is registered. Load it to serve it."

    def save_model(self, request: HttpRequest, obj: LanguageModel, form: Any, change: bool) -> None:
        if not change or not form.changed_data:  # the form has registered a new model
            return
        try:
            is_loaded = obj.change_options(**{name: form.cleaned_data[name] for name in form.changed_data})
        except Refused as error:
            self.message_user(request, f"Nothing was changed: the model cannot be loaded: {error}", messages.ERROR)
            return
        if is_loaded:
            self.message_user(request, f"{obj} is loaded again with these options.", messages.INFO)

    # --- actions ---

    @posted_action("Load", permissions=["change"], icon="play_arrow")
    def load(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            LanguageModel.load,
            "The load of {} has begun.",
            consequences=consequences.of_loading,
            question="Load {}?",
        )

    @posted_action("Unload", permissions=["change"], icon="stop")
    def unload(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            LanguageModel.unload,
            "{} is unloaded: no model is current.",
            consequences=consequences.of_unloading,
            question="Unload {}?",
        )

    @posted_action("Cancel", permissions=["change"], icon="close")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            LanguageModel.cancel,
            "The load of {} is cancelled; what was downloaded is kept.",
            consequences=lambda model: consequences.of_unloading(model) if model.is_under_way else [],
            question="Cancel the load of {}?",
        )

    # --- deletion ---

    def deleted_lines(self, rows: list[LanguageModel]) -> list[str]:
        return [f"Model {model}" for model in rows]

    def kept_lines(self, rows: list[LanguageModel]) -> list[str]:
        lines = ["The files, in their folder or in the hub's cache."]
        if count := Profile.objects.filter(model_id__in=[model.name for model in rows]).count():
            lines.append(f"The model's profiles ({count:,}). They cannot be activated without the model.")
        return lines


def _sampling(model: LanguageModel) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in model.sampling_defaults.items())


def _weights(model: LanguageModel) -> str:
    if model.is_under_way:
        return "known after the download"
    try:
        size = weights_size(model)
    except (Refused, OSError) as error:
        return f"cannot be read: {error}"
    return f"{filesizeformat(size)} on disk; needs at least that much memory" if size else "not on this machine"

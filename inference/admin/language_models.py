"""The admin of language models."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from unfold.decorators import display

from inference.admin import consequences
from inference.admin.deletion import DeletionAdmin
from inference.admin.forms import RegisterModelForm
from inference.admin.progress import Control, ProgressAdmin, live
from inference.model_files import weights_size
from inference.models import LanguageModel
from profiles.models import Profile
from steering.admin.actions import posted_action
from steering.errors import Refused
from steering.hub.sources import is_folder

Status = LanguageModel.Status


@admin.register(LanguageModel)
class LanguageModelAdmin(DeletionAdmin, ProgressAdmin):
    list_filter = ["is_current"]
    search_fields = ["name", "source"]
    actions_row = ["load", "unload", "cancel"]
    mend = "Mend that, then load it again: a download continues where it ended."

    # --- what is shown ---

    @display(description="Model", header=True, ordering="name")
    def about(self, model: LanguageModel) -> list[str]:
        return [model.name, model.source]

    def columns(self, request: HttpRequest) -> list[Any]:
        return [
            "about",
            live("Status", self.state),
            "dtype",
            "device",
            "model_type",
            live("Actions", lambda model: self.controls(request, model)),
        ]

    def mark(self, model: LanguageModel) -> str:
        return "current" if model.is_current else ""

    def doable(self, model: LanguageModel) -> list[Control]:
        if not model.is_current:
            return [Control("load", "Load", is_primary=True)]
        if model.is_under_way:
            return [Control("cancel", "Cancel")]
        again = [Control("load", "Load again", is_primary=True)] if model.status != Status.READY else []
        return [*again, Control("unload", "Unload")]

    def facts(self, request: HttpRequest, model: LanguageModel) -> list[tuple[str, Any]]:
        return [
            ("Source", model.source),
            *([] if is_folder(model.source) else [("Revision", model.revision or "main")]),
            ("Architecture", model.model_type),
            ("Decoder blocks", model.num_layers),
            ("Residual stream", f"{model.d_model:,} wide"),
            ("Context", f"{model.context_length:,} tokens"),
            ("Weights", _weights(model)),
            ("Requests", "are answered by it, if they name no other" if model.is_current else "are not answered by it"),
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
        told = "Workers load the current model anew when these are changed." if obj.is_current else ""
        return [("How it is loaded", {"fields": ["dtype", "device"], "description": told})]

    def registered(self, model: LanguageModel) -> str:
        return f"{model} is registered. Nothing is downloaded yet: load it to serve it."

    def save_model(self, request: HttpRequest, obj: LanguageModel, form: Any, change: bool) -> None:
        if not change or not form.changed_data:  # a new one is registered by its form
            return
        try:
            is_loaded = obj.change_options(**{name: form.cleaned_data[name] for name in form.changed_data})
        except Refused as error:
            self.message_user(request, f"Nothing was changed, since it cannot be loaded: {error}", messages.ERROR)
            return
        if is_loaded:
            self.message_user(request, f"{obj} is loaded anew with these options.", messages.INFO)

    # --- what is done ---

    @posted_action("Load", permissions=["change"], icon="play_arrow")
    def load(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            LanguageModel.load,
            "{} is the current model now: workers load it.",
            ends=consequences.of_loading,
            asked="Load {}?",
        )

    @posted_action("Unload", permissions=["change"], icon="stop")
    def unload(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            LanguageModel.unload,
            "{} is unloaded: no model is current.",
            ends=consequences.of_unloading,
            asked="Unload {}?",
        )

    @posted_action("Cancel", permissions=["change"], icon="close")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(
            request,
            object_id,
            LanguageModel.cancel,
            "The load of {} is cancelled; what was downloaded is kept.",
            ends=lambda model: consequences.of_unloading(model) if model.is_under_way else [],
            asked="Cancel the load of {}?",
        )

    # --- deleting ---

    def goes(self, rows: list[LanguageModel]) -> list[str]:
        return [f"Model {model}" for model in rows]

    def stays(self, rows: list[LanguageModel]) -> list[str]:
        told = ["The files stay where they are, in the folder or in the hub's cache."]
        if count := Profile.objects.filter(model_id__in=[model.name for model in rows]).count():
            told.append(f"Profiles for it stay ({count:,}); they cannot be activated while it is not here.")
        return told


def _weights(model: LanguageModel) -> str:
    if model.is_under_way:
        return "known when they are here"
    try:
        size = weights_size(model)
    except (Refused, OSError) as error:
        return f"cannot be read: {error}"
    return f"{filesizeformat(size)}; loaded, at least about as much memory" if size else "not on this machine"

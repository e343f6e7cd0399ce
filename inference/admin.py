"""The admin of language models, and what the SAEs' needs of them."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from inference.models import LanguageModel, attach_sae, detach_sae
from steering.admin import SAEAdmin
from steering.errors import SteeringError
from steering.forms import RegisterForm
from steering.models import SAE


class RegisterModelForm(RegisterForm[LanguageModel]):
    optional = "name"

    class Meta:
        model = LanguageModel
        fields = ["source", "name", "revision", "dtype", "device"]

    def register(self, **fields: Any) -> LanguageModel:
        return LanguageModel.objects.register(**fields)


@admin.register(LanguageModel)
class LanguageModelAdmin(ModelAdmin):
    list_display = ["name", "is_current", "status", "progress", "error", "source", "dtype", "device", "model_type"]
    list_filter = ["is_current", "status"]
    search_fields = ["name", "source"]
    actions = ["load", "unload"]

    def get_form(
        self, request: HttpRequest, obj: LanguageModel | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return super().get_form(request, obj, change, **kwargs) if obj else RegisterModelForm

    def get_readonly_fields(self, request: HttpRequest, obj: LanguageModel | None = None) -> list[str]:
        if obj is None:
            return []
        return [field.name for field in LanguageModel._meta.fields if field.name not in {"id", "dtype", "device"}]

    def save_model(self, request: HttpRequest, obj: LanguageModel, form: Any, change: bool) -> None:
        if change:  # a new one is registered by its form
            # These alone: a worker may be writing the others just now.
            obj.save(update_fields=[*form.changed_data, "updated_at"])

    def has_delete_permission(self, request: HttpRequest, obj: LanguageModel | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_current)

    @admin.action(description="Load: serve the selected model", permissions=["change"])
    def load(self, request: HttpRequest, queryset: "QuerySet[LanguageModel]") -> None:
        _do_one(self, request, queryset, lambda model: model.load(), "{} is the current model: workers load it now.")

    @admin.action(description="Unload: serve it no more", permissions=["change"])
    def unload(self, request: HttpRequest, queryset: "QuerySet[LanguageModel]") -> None:
        _do_one(self, request, queryset, lambda model: model.unload(), "{} is unloaded.")


def _do_one(page: Any, request: HttpRequest, queryset: "QuerySet[Any]", do: Callable[[Any], object], done: str) -> None:
    """Do something with the one selected row, and say how it went."""
    if queryset.count() != 1:
        page.message_user(request, "Select exactly one.", messages.ERROR)
        return
    row = queryset.get()
    try:
        do(row)
    except SteeringError as error:
        page.message_user(request, str(error), messages.ERROR)
    else:
        page.message_user(request, done.format(row))


@admin.action(description="Attach to the current model", permissions=["change"])
def attach(page: Any, request: HttpRequest, queryset: "QuerySet[SAE]") -> None:
    _do_one(page, request, queryset, attach_sae, "{} is attached.")


@admin.action(description="Detach", permissions=["change"])
def detach(page: Any, request: HttpRequest, queryset: "QuerySet[SAE]") -> None:
    _do_one(page, request, queryset, detach_sae, "{} is detached: nothing of it steers any more.")


# Attaching needs the model, which `steering` may not know: the actions join its page from here.
SAEAdmin.actions = [*SAEAdmin.actions, attach, detach]

"""The admin of SAEs and of the live steering."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin

from steering.errors import SteeringError
from steering.forms import RegisterForm
from steering.label_admin import labelled
from steering.models import SAE, SteeringState, check_values


class RegisterSAEForm(RegisterForm[SAE]):
    optional = "id"

    class Meta:
        model = SAE
        fields = ["source", "path", "id", "revision"]

    def register(self, **fields: Any) -> SAE:
        return SAE.objects.register(sae_id=fields.pop("id"), **fields)


@admin.register(SAE)
class SAEAdmin(ModelAdmin):
    list_display = ["id", "is_attached", "status", "progress", "error", "hook_name", "d_sae", "model_name", "source"]
    list_filter = ["is_attached", "status", "model_name", "layer"]
    search_fields = ["id", "source"]
    actions: list[Any] = ["download", "cancel"]

    def get_form(self, request: HttpRequest, obj: SAE | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **kwargs) if obj else RegisterSAEForm

    def get_readonly_fields(self, request: HttpRequest, obj: SAE | None = None) -> list[str]:
        return [field.name for field in SAE._meta.fields] if obj else []

    def save_model(self, request: HttpRequest, obj: SAE, form: Any, change: bool) -> None:
        """Registered by its form, and never changed: what it is, its files say."""

    def has_delete_permission(self, request: HttpRequest, obj: SAE | None = None) -> bool:
        """An attached SAE cannot be deleted."""
        return super().has_delete_permission(request, obj) and not (obj and obj.is_attached)

    @admin.action(description="Download what is missing", permissions=["change"])
    def download(self, request: HttpRequest, queryset: "QuerySet[SAE]") -> None:
        for sae in queryset:
            sae.prepare()
        self.message_user(request, "A worker brings the files here; the list shows how far it is.")

    @admin.action(description="Cancel the download", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: "QuerySet[SAE]") -> None:
        for sae in queryset:
            sae.cancel()
        self.message_user(request, "The downloads are cancelled; what has come is kept.")


class SteeringStateForm(forms.ModelForm[SteeringState]):
    class Meta:
        model = SteeringState
        fields = ["enabled", "values"]

    def clean_values(self) -> dict[int, float]:
        try:
            return check_values(self.cleaned_data["values"], SAE.objects.attached())
        except SteeringError as error:
            raise ValidationError(str(error), code=error.code) from error


@admin.register(SteeringState)
class SteeringStateAdmin(SimpleHistoryAdmin, ModelAdmin):
    form = SteeringStateForm
    list_display = ["__str__", "enabled", "version", "updated_at"]
    history_list_display = ["door", "agent"]
    readonly_fields = ["labels", "version", "updated_at"]

    @admin.display(description="features, with their labels")
    def labels(self, state: SteeringState) -> str:
        return labelled(state.sae_id, state.values)

    def save_model(self, request: HttpRequest, obj: SteeringState, form: Any, change: bool) -> None:
        obj.replace(obj.values, obj.enabled, reason="edited")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SteeringState | None = None) -> bool:
        return False

"""The admin of SAEs and of the live steering."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from simple_history.admin import SimpleHistoryAdmin

from steering.errors import SteeringError
from steering.models import SAE, SteeringState, check_values


@admin.register(SAE)
class SAEAdmin(admin.ModelAdmin[SAE]):
    list_display = ["id", "is_attached", "status", "model_name", "hook_name", "d_in", "d_sae", "source"]
    list_filter = ["is_attached", "status", "model_name", "layer"]
    search_fields = ["id", "source"]
    readonly_fields = ["is_attached", "status", "progress", "error", "created_at", "updated_at"]

    def has_delete_permission(self, request: HttpRequest, obj: SAE | None = None) -> bool:
        """An attached SAE cannot be deleted."""
        return super().has_delete_permission(request, obj) and not (obj and obj.is_attached)


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
class SteeringStateAdmin(SimpleHistoryAdmin, admin.ModelAdmin[SteeringState]):
    form = SteeringStateForm
    list_display = ["__str__", "enabled", "version", "updated_at"]
    history_list_display = ["door", "agent"]
    readonly_fields = ["version", "updated_at"]

    def save_model(self, request: HttpRequest, obj: SteeringState, form: Any, change: bool) -> None:
        obj.replace(obj.values, obj.enabled, reason="edited")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SteeringState | None = None) -> bool:
        return False

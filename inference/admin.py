"""The admin of language models."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from inference.models import LanguageModel


@admin.register(LanguageModel)
class LanguageModelAdmin(admin.ModelAdmin[LanguageModel]):
    list_display = ["name", "is_current", "status", "source", "dtype", "device", "d_model", "num_layers"]
    list_filter = ["is_current", "status"]
    search_fields = ["name", "source"]
    readonly_fields = ["is_current", "status", "progress", "error", "created_at", "updated_at"]
    actions = ["make_current"]

    @admin.action(description="Serve the selected model", permissions=["change"])
    def make_current(self, request: HttpRequest, queryset: "QuerySet[LanguageModel]") -> None:
        if queryset.count() != 1:
            self.message_user(request, "Select exactly one model to serve.", messages.ERROR)
            return
        model = queryset.get()
        model.make_current()
        self.message_user(request, f"{model} is the current model: restart its workers to load it.")

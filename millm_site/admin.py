"""The admin of API keys: a key is shown once, when it is made."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from millm_site.models import APIKey


@admin.register(APIKey)
class APIKeyAdmin(ModelAdmin):
    list_display = ["name", "token_key", "user", "created", "expiry"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username"]
    fields = ["name", "user", "expiry"]

    def get_readonly_fields(self, request: HttpRequest, obj: APIKey | None = None) -> list[str]:
        return ["user"] if obj else []

    def save_model(self, request: HttpRequest, obj: APIKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        made, key = APIKey.objects.create(obj.user, name=obj.name)
        APIKey.objects.filter(pk=made.pk).update(expiry=obj.expiry)
        obj.pk = made.pk
        messages.success(request, f"The new key, shown only now: {key}")

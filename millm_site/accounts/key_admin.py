"""The admin of API keys. A key is shown once, when it is created, and is never stored."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html
from django.utils.timesince import timesince
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from inference.models import LanguageModel
from millm_site.accounts import access
from millm_site.accounts.key_forms import KeyForm, NewKeyForm
from millm_site.models import USE_INTERVAL, APIKey
from steering.admin.search import BoundedSearch
from steering.admin.selections import ChecksSelection, RowSelect

COOKIE = "new_api_key"
COOKIE_AGE_S = 60


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in ("active", "expired", "never used")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> QuerySet[APIKey]:
        if self.value() == "never used":
            return queryset.filter(last_used_at=None)
        if self.value() in {"active", "expired"}:
            expired = {"expiry__lte": timezone.now()}
            return queryset.filter(**expired) if self.value() == "expired" else queryset.exclude(**expired)
        return queryset


@admin.register(APIKey)
class APIKeyAdmin(ChecksSelection, BoundedSearch):
    list_display = ["name", "prefix", "user", "state", "created_on", "last_used", "expires", "limit"]
    list_filter = [StateFilter]
    list_filter_submit = True
    list_select_related = ["user"]
    search_fields = ["name", "user__username"]
    autocomplete_fields = ["user"]
    conditional_fields = {"expires_on": "expires == 'date'"}
    actions_row = ["revoke"]
    actions_detail = ["revoke"]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow filters by any field but the digest, which a filter would let users guess character by character."""
        return not lookup.startswith("digest") and super().lookup_allowed(lookup, value, request)

    @display(description="key")
    def prefix(self, key: APIKey) -> str:
        return format_html('<code class="whitespace-nowrap">{}…</code>', key.token_key[:9])

    @display(description="state", label={"active": "success", "expired": "danger", "never used": "info"})
    def state(self, key: APIKey) -> str:
        if key.is_expired:
            return "expired"
        return "active" if key.last_used_at else "never used"

    @display(description="created", ordering="created")
    def created_on(self, key: APIKey) -> Any:
        return key.created.date()

    @display(description="last used", ordering="last_used_at")
    def last_used(self, key: APIKey) -> str:
        if key.last_used_at is None:
            return "never"
        if timezone.now() - key.last_used_at < USE_INTERVAL:
            return "just now"
        return f"{timesince(key.last_used_at, depth=1)} ago"

    @display(description="expires", ordering="expiry", empty_value="never")
    def expires(self, key: APIKey) -> Any:
        return key.expiry and key.expiry.date()

    @display(description="limit", ordering="requests_per_minute", empty_value="none")
    def limit(self, key: APIKey) -> str | None:
        return f"{key.requests_per_minute} / min" if key.requests_per_minute else None

    # --- one key ---

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and self._manages(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and self._manages(request, obj)

    def _manages(self, request: HttpRequest, obj: Any) -> bool:
        """True if the user may manage the key's user. Unfold passes the id from the URL as `obj`."""
        key = self.get_object(request, obj) if isinstance(obj, str) else obj
        return key is None or access.may_manage(request.user, key.user)

    def get_form(self, request: HttpRequest, obj: APIKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=KeyForm if obj else NewKeyForm, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: APIKey | None = None) -> Any:
        if obj:
            facts = ("prefix", "user", "state", "created", "last_used")
            return [(None, {"fields": ("name", "requests_per_minute", "expiry")}), ("Facts", {"fields": facts})]
        # A key acts as its user, so only superusers may create keys of other users.
        owner = ["user"] if request.user.is_superuser else []
        return [(None, {"fields": ("name", *owner, "expires", "expires_on", "requests_per_minute")})]

    def get_readonly_fields(self, request: HttpRequest, obj: APIKey | None = None) -> list[str]:
        return ["prefix", "user", "state", "created", "last_used"] if obj else []

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["widget"] = RowSelect(db_field, self.admin_site)
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        field.queryset = field.queryset.filter(is_active=True)
        field.help_text = "The key has the permissions of this user."
        return field

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"user": request.user.pk, **super().get_changeform_initial_data(request)}

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        fewer = {"show_save_and_add_another": False, "show_save_and_continue": False, "show_delete": False}
        return super().changeform_view(request, object_id, form_url, {**fewer, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: APIKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        owner = obj.user if request.user.is_superuser else request.user
        limit = obj.requests_per_minute
        made, text = APIKey.objects.issue(owner, obj.name, expires_at=form.expires_at(), requests_per_minute=limit)
        obj.pk, obj.token_key, obj.text = made.pk, made.token_key, text

    # --- the new key, shown once: the browser sends it back in a cookie of a minute; the server stores nothing ---

    def get_urls(self) -> list[URLPattern]:
        shown = path("<int:pk>/key/", self.admin_site.admin_view(self.key_view), name="millm_site_apikey_key")
        return [shown, *super().get_urls()]

    def response_add(self, request: HttpRequest, obj: APIKey, post_url_continue: str | None = None) -> HttpResponse:
        url = reverse("admin:millm_site_apikey_key", args=[obj.pk])
        response = redirect(url)
        response.set_signed_cookie(
            COOKIE,
            obj.text,
            salt=_salt(request, obj.pk),
            max_age=COOKIE_AGE_S,
            path=url,
            secure=request.is_secure(),
            httponly=True,
            samesite="Strict",
        )
        return response

    def key_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The page that shows a new key."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        key = get_object_or_404(APIKey.objects.select_related("user"), pk=pk)
        text = request.get_signed_cookie(COOKIE, None, salt=_salt(request, pk), max_age=COOKIE_AGE_S)
        if text is None:
            message = "A key is shown only once, when it is created. If you lost it, revoke it and create another."
            self.message_user(request, message, messages.WARNING)
            return redirect("admin:millm_site_apikey_changelist")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"The key of {key.name}",
            "key": key,
            "text": text,
            "url": request.build_absolute_uri("/v1"),
            "model": LanguageModel.objects.current(),
            "copy_button": {"type": "button", "x-on:click": "copy"},
        }
        response = TemplateResponse(request, "admin/millm_site/apikey/key.html", context)
        response.delete_cookie(COOKIE, path=request.path, samesite="Strict")
        add_never_cache_headers(response)
        return response

    # --- revoking: the deletion of a key ---

    @action(description="Revoke", permissions=["delete"], icon="key_off", variant=ActionVariant.DANGER)
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the confirmation."""
        return redirect("admin:millm_site_apikey_delete", object_id)

    def get_actions(self, request: HttpRequest) -> Any:
        actions = super().get_actions(request)
        if "delete_selected" in actions:
            function, name, _ = actions["delete_selected"]
            actions["delete_selected"] = (function, name, "Revoke the selected keys")
        return actions

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        return super().delete_view(request, object_id, {"title": "Revoke API key", **(extra_context or {})})

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: int) -> HttpResponse:
        self.message_user(request, f"{obj_display} is revoked: its requests get 401 from now on.", messages.SUCCESS)
        return redirect("admin:millm_site_apikey_changelist")


def _salt(request: HttpRequest, pk: int) -> str:
    return f"{COOKIE}:{pk}:{request.user.pk}"

"""The admin of stored responses: a list and pages to read and to delete. Nothing of a response can be changed."""

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from inference.admin.deletion import DeletionAdmin
from inference.responses.models import StoredResponse
from steering.admin.search import BoundedSearch

HEAVY = ("input_items", "body")
MOST_SHOWN = 100_000
"""Characters of a text that its page shows; GET /v1/responses/{id} has the rest for the owner."""
SHOWN_ID = 13
"""Characters of an id in the list, with its prefix."""
LABELS = {"completed": "success", "incomplete": "warning", "failed": "danger"}


@admin.register(StoredResponse)
class StoredResponseAdmin(DeletionAdmin, BoundedSearch):
    list_display = ["short_id", "owner", "shown_model", "shown_state", "created_at", "expires_at", "shown_size"]
    list_filter = ["status"]
    list_select_related = ["owner"]
    list_per_page = 50
    list_fullwidth = True
    search_fields = ["id", "owner__username"]
    fieldsets = [
        (None, {"fields": ["id", "owner", "shown_model", "shown_state", "created_at", "expires_at", "shown_size"]}),
        ("Conversation", {"fields": ["shown_previous", "conversation"]}),
        ("Text", {"fields": ["shown_request", "shown_answer"]}),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[StoredResponse]":
        """Without the texts, which may have megabytes: a page reads those of its own response."""
        return super().get_queryset(request).defer(*HEAVY)  # type: ignore[no-any-return]

    # --- the columns and fields ---

    @display(description="Id", ordering="id")
    def short_id(self, row: StoredResponse) -> str:
        return f"{row.pk[:SHOWN_ID]}…"

    @display(description="Model", ordering="model")
    def shown_model(self, row: StoredResponse) -> str:
        return row.model or "-"

    @display(description="Status", ordering="status", label=LABELS)
    def shown_state(self, row: StoredResponse) -> str:
        return row.state.replace("_", " ")

    @display(description="Size", ordering="size")
    def shown_size(self, row: StoredResponse) -> str:
        return filesizeformat(row.size)

    @display(description="Previous response")
    def shown_previous(self, row: StoredResponse) -> str:
        if not StoredResponse.objects.filter(pk=row.previous).exists():
            return f"{row.previous} (deleted)" if row.previous else "none: it begins the conversation"
        url = reverse("admin:inference_storedresponse_change", args=[quote(row.previous)])
        return format_html('<a class="text-link" href="{}">{}</a>', url, row.previous)

    @display(description="Request")
    def shown_request(self, row: StoredResponse) -> str:
        return _folded("Show the request", row.input_items)

    @display(description="Answer")
    def shown_answer(self, row: StoredResponse) -> str:
        return _folded("Show the answer", row.as_json()["output"])

    # --- deletion ---

    def deleted_lines(self, rows: list[StoredResponse]) -> list[str]:
        return [f"Response {row.pk} of {row.owner}" for row in rows]

    def kept_lines(self, rows: list[StoredResponse]) -> list[str]:
        return ["The other responses of the conversation. Requests that go on from a deleted response are refused."]


def _folded(title: str, items: list[dict[str, Any]]) -> str:
    text = "\n\n".join(f"{_heading(item)}\n{_text(item)}" for item in items) or "(empty)"
    cut = f"\n\n… {len(text) - MOST_SHOWN:,} more characters" if len(text) > MOST_SHOWN else ""
    shown = '<details><summary class="cursor-pointer">{}</summary><pre class="whitespace-pre-wrap">{}</pre></details>'
    return format_html(shown, title, text[:MOST_SHOWN] + cut)


def _heading(item: dict[str, Any]) -> str:
    return f"[{item.get('role') or item.get('type', 'item')}]"


def _text(item: dict[str, Any]) -> str:
    """The text of a message; of another item its JSON."""
    content = item.get("content")
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content or () if isinstance(part, dict) and isinstance(part.get("text"), str)]
    if content and len(texts) == len(content):
        return "\n".join(texts)
    return json.dumps(item, indent=2, ensure_ascii=False)

"""Deletion in the admin: the confirmation lists what is deleted and what is kept; a refusal says what to do."""

from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from steering.admin.selections import ChecksSelection
from steering.errors import Refused


class DeletionAdmin(ChecksSelection):
    """The admin of rows that have `check_deletable`, which their `delete` calls."""

    delete_confirmation_template = "admin/inference/delete.html"
    delete_selected_confirmation_template = "admin/inference/delete.html"

    def deleted_lines(self, rows: list[Any]) -> list[str]:
        """The confirmation's lines on what is deleted, one per row."""
        raise NotImplementedError

    def kept_lines(self, rows: list[Any]) -> list[str]:
        """The confirmation's lines on what is kept though users may expect its deletion."""
        raise NotImplementedError

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """The lines in place of Django's list of all dependent rows, which may be a million labels."""
        rows = list(objs)
        refusals = [refusal for row in rows if (refusal := _refusal(row))]
        return [self.deleted_lines(rows), self.kept_lines(rows)], {}, set(), refusals

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> None:
        for row in queryset:
            row.delete()

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        answer: HttpResponse = self._deleting(request, super().delete_view, request, object_id, extra_context)
        return answer

    def response_action(self, request: HttpRequest, queryset: "QuerySet[Any]") -> HttpResponse | None:
        answer: HttpResponse | None = self._deleting(request, super().response_action, request, queryset)
        return answer

    def _deleting(self, request: HttpRequest, do: Any, *args: Any) -> Any:
        """Delete all rows or none: a row may have come into use after the page was shown."""
        try:
            with transaction.atomic():
                return do(*args)
        except Refused as error:
            self.message_user(request, f"Nothing was deleted: {error}.", messages.ERROR)
            return redirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))


def _refusal(row: Any) -> str:
    try:
        row.check_deletable()
    except Refused as error:
        return str(error)
    return ""

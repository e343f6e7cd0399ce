"""Deleting in the admin: what goes and what stays is told before, and a refusal says what to do."""

from abc import abstractmethod
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
    """The rows have `check_deletable`, and a `delete` that asks it."""

    delete_confirmation_template = "admin/inference/delete.html"
    delete_selected_confirmation_template = "admin/inference/delete.html"

    @abstractmethod
    def goes(self, rows: list[Any]) -> list[str]:
        """What is deleted, a line for each row."""

    @abstractmethod
    def stays(self, rows: list[Any]) -> list[str]:
        """What is not deleted, though one may think so."""

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """Without a list of all that hangs on the rows, which may be a million labels."""
        rows = list(objs)
        refused = [told for row in rows if (told := _refusal(row))]
        return [self.goes(rows), self.stays(rows)], {}, set(), refused

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
        """All of them or none: a row may have come into use since the page was shown."""
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

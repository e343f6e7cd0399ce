"""Selected rows: checks the ids that the browser sends. Django passes them to the database unchecked, which fails."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Field
from django.http import HttpRequest
from unfold.admin import ModelAdmin


def is_id(key: "Field[Any, Any]", sent: str) -> bool:
    """True if a row could have `sent` as its primary key `key`."""
    try:
        key.to_python(sent)
    except ValidationError:
        return False
    return "\0" not in sent


class ChecksSelection(ModelAdmin):
    """A list that refuses an action on ids which no row can have."""

    def response_action(self, request: HttpRequest, queryset: Any) -> Any:
        # With `select_across` Django ignores the ids.
        of_all = forms.BooleanField(required=False).to_python(request.POST.get("select_across"))
        for sent in request.POST.getlist(ACTION_CHECKBOX_NAME):
            if not of_all and not is_id(self.opts.pk, sent):
                raise BadRequest(f"{sent!r} is not the id of a row")
        return super().response_action(request, queryset)


class RowChoice(forms.ModelChoiceField[Any]):
    """The choice of a row by its id."""

    def to_python(self, value: Any) -> Any:
        rows: Any = self.queryset
        if value and not is_id(rows.model._meta.pk, str(value)):
            raise ValidationError(self.error_messages["invalid_choice"], code="invalid_choice", params={"value": value})
        return super().to_python(value)


class RowSelect(AutocompleteSelect):
    """The widget of RowChoice. After a refused form it shows the sent ids that a row could have."""

    def optgroups(self, name: str, value: Sequence[str], attr: dict[str, Any] | None = None) -> Any:
        key = self.field.remote_field.model._meta.pk
        return super().optgroups(name, [sent for sent in value if is_id(key, sent)], attr)

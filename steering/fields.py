"""The two columns of the document of a steering: `steering.document.Steering.split`."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from steering.errors import InvalidSteering
from steering.strengths import as_strengths, parse_strengths, stored_values


class FeatureStrengthsField(models.JSONField):
    """{feature index: strength}: integer keys in Python, string keys in JSONB, checked by `parse_strengths`.

    A strength is a float, or a dictionary where it is more: see `steering.strengths.Value`.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        loaded = super().from_db_value(value, expression, connection)
        return as_strengths(stored_values(loaded)) if isinstance(loaded, dict) else loaded

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        # At the top this import would be a cycle: the widgets read labels, a model of this app.
        from steering.admin.widgets import FeatureStrengthsFormField

        return super().formfield(*args, **{"form_class": FeatureStrengthsFormField, **kwargs})

    def to_python(self, value: Any) -> Any:
        try:
            return parse_strengths(super().to_python(value))
        except InvalidSteering as error:
            raise ValidationError(str(error), code=error.code) from error


class MoreField(models.JSONField):
    """What a document has beside its own features; {} for features alone."""

    def __init__(self, **kwargs: Any) -> None:
        # The version before inserts rows without this column, and the history copies it.
        empty = models.Value({}, models.JSONField())
        super().__init__(**{"default": dict, "db_default": empty, "blank": True, "editable": False, **kwargs})

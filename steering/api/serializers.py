"""The parts of JSON bodies that all apps share: strict objects, and strengths."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from steering.api.document_schema import STRENGTHS

UNKNOWN_SHOWN = 20  # an answer is not larger than what it answers


class StrictMixin(serializers.Serializer[Any]):
    """Refuses unknown fields, so that a misspelled field is not silently ignored."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError(
                {name[:100]: ["This field is unknown."] for name in unknown[:UNKNOWN_SHOWN]}
            )
        return super().to_internal_value(data)


@extend_schema_field(STRENGTHS)
class FeatureStrengths(serializers.JSONField):
    """{feature index: strength}, checked by the model, which knows the SAE. A strength may have a mode."""

"""Feature labels as JSON, and the serializer field that adds labels to strengths."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from steering.api import examples
from steering.api.schema import answer_example
from steering.labels.models import FeatureLabel


@extend_schema_serializer(examples=answer_example(examples.LABEL))
class FeatureLabelSerializer(serializers.ModelSerializer[FeatureLabel]):
    class Meta:
        model = FeatureLabel
        fields = ["index", "label", "source"]


@extend_schema_serializer(examples=answer_example(examples.IMPORTED_LABELS))
class ImportedLabelsSerializer(serializers.Serializer[Any]):
    """The result of an import."""

    rows = serializers.IntegerField(help_text="Rows in the file.")
    skipped = serializers.IntegerField(help_text="Rows without a label.")
    labels = serializers.IntegerField(help_text="Labels written from the file.")
    sources = serializers.ListField(child=serializers.CharField())


@extend_schema_serializer(examples=answer_example({"deleted": 16372}, "a source"))
class DeletedLabelsSerializer(serializers.Serializer[Any]):
    deleted = serializers.IntegerField()


@extend_schema_field(
    {
        "type": "object",
        "description": "Feature index: label, for the features whose label is known.",
        "additionalProperties": {"type": "string"},
        "readOnly": True,
        "example": {"123": "whales and the sea"},
    }
)
class Labels(serializers.Field[Any, Any, Any, Any]):
    """{feature index: label} of the features in `strengths`; one query for all rows of a list."""

    def __init__(self, **kwargs: Any) -> None:
        self._known: tuple[Any, dict[tuple[str, int], str]] = (None, {})
        super().__init__(source="*", read_only=True, **kwargs)

    def to_representation(self, row: Any) -> dict[str, str]:
        found = self._labels(self._batch(row))
        features = ((index, (row.sae_id, index)) for index in row.strengths)
        return {str(index): found[feature] for index, feature in features if feature in found}

    def _batch(self, row: Any) -> Any:
        """The rows that are serialized together with this row."""
        lists = self.parent.parent
        return lists.instance if isinstance(lists, serializers.ListSerializer) and lists.instance else [row]

    def _labels(self, batch: Any) -> dict[tuple[str, int], str]:
        if self._known[0] is not batch:
            features = [(row.sae_id, row.strengths) for row in batch]
            self._known = (batch, FeatureLabel.objects.of_many(features))
        return self._known[1]

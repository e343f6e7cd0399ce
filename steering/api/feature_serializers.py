"""Features as JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from steering.api import examples
from steering.api.schema import answer_example


@extend_schema_serializer(examples=answer_example(examples.FEATURE))
class ListedFeatureSerializer(serializers.Serializer[Any]):
    """A feature in a list. Unknown statistics are null."""

    index = serializers.IntegerField()
    label = serializers.CharField(help_text="Empty where the feature has none.")  # type: ignore[assignment]
    maximum = serializers.FloatField(allow_null=True, help_text="The largest activation.")
    density = serializers.FloatField(allow_null=True, help_text="The share of tokens on which it fires.")
    mean = serializers.FloatField(allow_null=True, help_text="The mean activation where it fires.")


@extend_schema_serializer(examples=answer_example(examples.IMPORTED_FEATURES))
class ImportedFeaturesSerializer(serializers.Serializer[Any]):
    """The result of an import."""

    rows = serializers.IntegerField(help_text="Rows in the file.")
    skipped = serializers.IntegerField(help_text="Rows of examples in which the feature does not fire.")
    features = serializers.IntegerField(help_text="Features written from the file.")
    examples = serializers.IntegerField(help_text="Examples written from the file.")

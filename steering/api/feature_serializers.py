"""Features as JSON."""

from typing import Any

from rest_framework import serializers


class ListedFeatureSerializer(serializers.Serializer[Any]):
    """A feature in a list. Statistics that are not known are null."""

    index = serializers.IntegerField()
    label = serializers.CharField(help_text="Empty where the feature has none.")  # type: ignore[assignment]
    maximum = serializers.FloatField(allow_null=True, help_text="The largest activation.")
    density = serializers.FloatField(allow_null=True, help_text="The share of tokens on which it fires.")
    mean = serializers.FloatField(allow_null=True, help_text="The mean activation where it fires.")


class ImportedFeaturesSerializer(serializers.Serializer[Any]):
    """The result of an import."""

    rows = serializers.IntegerField(help_text="Rows in the file.")
    skipped = serializers.IntegerField(help_text="Rows of examples in which the feature does not fire.")
    features = serializers.IntegerField(help_text="Features written from the file.")
    examples = serializers.IntegerField(help_text="Examples written from the file.")

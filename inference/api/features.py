"""GET /api/saes/{id}/features/{index}: all that is known of one feature. A worker is asked for a part of it."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api import examples
from inference.api.reading import MayRead
from inference.broker.shares import count_for
from inference.reading.facts import FeatureFacts
from steering.api.parameters import known_parameters, sae_of
from steering.api.schema import answer_example, errors

NUMBERS = {"type": "array", "items": {"type": "number"}}


@extend_schema_field(
    {
        "type": "array",
        "nullable": True,
        "description": "[token, logit] of each; the most extreme first.",
        "items": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "number"}]}},
        "example": [[" whale", 1.5], [" sea", 1.25]],
    }
)
class TokenLogits(serializers.JSONField):
    """Tokens with their logits."""


@extend_schema_field(
    {
        "type": "object",
        "nullable": True,
        "description": "The activations > 0: n + 1 edges of n bars, and the number of tokens in each.",
        "properties": {"edges": NUMBERS, "counts": NUMBERS},
    }
)
class Histogram(serializers.JSONField):
    """Edges and counts."""


class SourcedLabelSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]
    source = serializers.CharField(help_text="`edited`: written by a user.")  # type: ignore[assignment]


class NearFeatureSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    cosine = serializers.FloatField(help_text="Of the decoder directions.")
    label = serializers.CharField(help_text="Empty where the feature has none.")  # type: ignore[assignment]


class ExampleSerializer(serializers.Serializer[Any]):
    tokens = serializers.ListField(child=serializers.CharField())
    values = serializers.ListField(child=serializers.FloatField(), help_text="The activation on each token.")
    maximum = serializers.FloatField()
    source = serializers.CharField(help_text="`measured` or `neuronpedia`.")  # type: ignore[assignment]


@extend_schema_serializer(examples=answer_example(examples.FEATURE, "whales"))
class FeatureSerializer(serializers.Serializer[Any]):
    """A feature. Unknown facts are null."""

    index = serializers.IntegerField()
    labels = SourcedLabelSerializer(many=True, help_text="The edited one first, then the newest.")
    maximum = serializers.FloatField(source="row.maximum", allow_null=True, help_text="The largest activation.")
    density = serializers.FloatField(
        source="row.density", allow_null=True, help_text="The share of tokens on which it fires."
    )
    mean = serializers.FloatField(source="row.mean", allow_null=True, help_text="The mean activation where it fires.")
    histogram = Histogram(source="row.histogram")
    statistics_source = serializers.CharField(
        source="row.statistics_source", help_text="`measured`, `neuronpedia`, or empty."
    )
    promoted = TokenLogits(source="row.promoted", help_text="Tokens whose logits the decoder direction raises most.")
    suppressed = TokenLogits(source="row.suppressed", help_text="Tokens whose logits it lowers most.")
    nearest = NearFeatureSerializer(many=True, allow_null=True, help_text="The most similar features first.")
    examples = ExampleSerializer(many=True, help_text="Texts in which it fires; of each source the strongest first.")
    unavailable = serializers.CharField(help_text="Why promoted, suppressed or nearest are unknown; else empty.")


class FeatureView(APIView):
    """One feature of an SAE."""

    permission_classes = [MayRead]

    @extend_schema(
        parameters=[OpenApiParameter("index", int, "path", description="The feature.")],
        responses={200: FeatureSerializer, **errors(400, 404, 409)},
        operation_id="saes_features_retrieve",
    )
    def get(self, request: Request, id: str, index: int) -> Response:
        """Get a feature: labels, statistics, promoted and suppressed tokens, nearest features, and examples.

        A worker computes tokens and nearest features once, where the SAE fits the current model; they are kept.
        """
        known_parameters(request)
        count_for(request)
        return Response(FeatureSerializer(FeatureFacts.of(sae_of(id), index)).data)

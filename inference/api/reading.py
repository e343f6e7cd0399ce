"""POST /api/activations and /api/features/contrast: the features that fire on texts."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from inference.api.examples import ACTIVATIONS
from inference.api.reading_serializers import (
    ActivationsRequestSerializer,
    ActivationsSerializer,
    ContrastRequestSerializer,
    ContrastSerializer,
)
from inference.broker.shares import count_for
from inference.reading.request import Reading
from steering.api.document_schema import COMPOSITION
from steering.api.document_serializers import given
from steering.api.schema import answer_example, errors

TEXTS = ["The whale dives in the sea."]
FAILURES = errors(400, 404, 409, 503)


class MayRead(BasePermission):
    """Reading shows labels and features: it needs the permission to view labels."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return bool(user and user.is_authenticated and user.has_perm("steering.view_featurelabel"))


class _ReadingView(APIView):
    permission_classes = [MayRead]
    body: type[Serializer[Any]]

    def checked(self, request: Request) -> dict[str, Any]:
        """The body. The request counts as one of its key's, or of its user's, while a worker reads."""
        body = self.body(data=request.data)
        body.is_valid(raise_exception=True)
        count_for(request)
        return dict(body.validated_data)


class ActivationsView(_ReadingView):
    """The features of an SAE that fire on texts."""

    body = ActivationsRequestSerializer

    @extend_schema(
        request=ActivationsRequestSerializer,
        responses={200: ActivationsSerializer, **FAILURES},
        examples=[
            OpenApiExample("unsteered", {"texts": TEXTS, "top_k": 3}, request_only=True),
            OpenApiExample("under a sum of profiles", {"texts": TEXTS, "steering": COMPOSITION}, request_only=True),
            *answer_example(ACTIVATIONS, "one token of a sentence"),
        ],
    )
    def post(self, request: Request) -> Response:
        """Read texts, conversations or token ids: return the features that fire on each token and over each text.

        The current model reads, and its chats continue. `steering` and `profile` apply to this reading only.
        """
        asked = self.checked(request)
        reading = Reading.of(asked["sae"])
        features = asked.get("features")
        if features and (largest := max(features)) >= reading.sae.d_sae:
            message = f"Feature {largest} is out of range: SAE {reading.sae} has {reading.sae.d_sae} features."
            raise ValidationError({"features": [message]})
        steering = given(asked["steering"]) if "steering" in asked else None
        found = reading.activations(
            asked.get("texts") or asked.get("messages") or asked["tokens"],
            top_k=asked.get("top_k") or (len(features) if features else 5),
            features=features,
            skip_special=asked["skip_special"],
            answer_only=asked["positions"] == "answer",
            steering=reading.spec(steering, asked.get("profile"), asked["intensity"]),
            stage=asked["stage"],
        )
        return Response(found)


class ContrastView(_ReadingView):
    """The features of an SAE that tell two kinds of texts apart."""

    body = ContrastRequestSerializer

    @extend_schema(request=ContrastRequestSerializer, responses={200: ContrastSerializer, **FAILURES})
    def post(self, request: Request) -> Response:
        """Find the features that distinguish two sets of texts. They are ranked by the difference of mean scores.

        Ten texts in each set are enough. Of a conversation only the last answer counts.
        """
        asked = self.checked(request)
        reading = Reading.of(asked.pop("sae"))
        return Response(reading.contrast(answer_only=asked.pop("positions") == "answer", **asked))

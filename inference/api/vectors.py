"""POST /api/vectors: a vector made of texts, kept as a vector set."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers, status
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api import examples
from inference.api.reading_serializers import TextsOrChats
from inference.api.serializers import SAESerializer
from inference.broker.shares import count_for
from inference.reading.vectors import Recipe, VectorReading
from steering.api.permissions import visible
from steering.api.schema import answer_example, errors, request_example
from steering.api.serializers import StrictMixin
from steering.labels.files import LABEL_LENGTH
from steering.models import SAE

EXAMPLE = {
    "id": "sea",
    "label": "the sea",
    "positive": ["The whale dives in the sea.", "The sailor looks at the waves."],
    "negative": ["The chef cooks in the kitchen.", "The runner looks at the clock."],
    "layer": 1,
}


class VectorRequestSerializer(StrictMixin):
    """Exactly one of `layer` and `hook_name`."""

    id = serializers.SlugField(default="", allow_blank=True, max_length=200, help_text="Empty: made of the label.")
    label = serializers.CharField(  # type: ignore[assignment]
        default="", allow_blank=True, max_length=LABEL_LENGTH, help_text="The label of the vector."
    )
    positive = TextsOrChats(help_text="Texts, or conversations, of the kind that the vector is to steer to.")
    negative = TextsOrChats(help_text="Texts of the other kind; of `pca`, the counterpart of each positive one.")
    layer = serializers.IntegerField(required=False, min_value=0, max_value=9999, help_text="Its output is read.")
    hook_name = serializers.CharField(required=False, max_length=100, help_text="Such as blocks.3.hook_resid_pre.")
    method = serializers.ChoiceField(["difference", "pca"], default="difference")
    pool = serializers.ChoiceField(["mean", "last"], default="mean", help_text="Over the tokens of each text.")
    answer_only = serializers.BooleanField(default=True, help_text="Of conversations only the last answer counts.")
    skip_special = serializers.BooleanField(default=True, help_text="Leave special tokens out.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        total, most = len(attrs["positive"]) + len(attrs["negative"]), settings.INFERENCE_MAX_READING_TEXTS
        if total > most:
            raise serializers.ValidationError({"positive": [f"Got {total:,} texts in all, expected at most {most:,}."]})
        if len({"layer", "hook_name"} & set(attrs)) != 1:
            raise serializers.ValidationError({"layer": ["Got both or none, expected one of layer and hook_name."]})
        return attrs


class MadeSerializer(serializers.Serializer[Any]):
    norm = serializers.FloatField(help_text="The norm of the vector, which strength 1 adds.")
    residual_norm = serializers.FloatField(help_text="The mean norm of the residual stream over the tokens.")
    auc = serializers.FloatField(
        allow_null=True,
        help_text="The AUC of the difference of means as a classifier of the texts (leave-one-out).",
    )
    tokens = serializers.IntegerField(help_text="The number of tokens that counted.")


@extend_schema_serializer(examples=answer_example(examples.MADE_SET, "the sea"))
class MadeSetSerializer(serializers.Serializer[Any]):
    sae = SAESerializer(help_text="The vector set, a row of /api/saes.")
    made = MadeSerializer()


class MayMakeVectors(BasePermission):
    """A vector set is a row of SAE: making one needs the permission to add one."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return bool(user and user.is_authenticated and user.has_perm("steering.add_sae"))


class VectorsView(APIView):
    """Vectors that are made of texts."""

    permission_classes = [MayMakeVectors]

    @extend_schema(
        request=VectorRequestSerializer,
        responses={201: MadeSetSerializer, **errors(400, 404, 409, 503, 507)},
        examples=request_example(EXAMPLE, "two texts a side") + answer_example(examples.MADE_SET, "the sea"),
        operation_id="vectors_create",
    )
    def post(self, request: Request) -> Response:
        """Make a vector from two sets of texts. It is kept as a vector set, an SAE with one direction and no encoder.

        The current model reads the texts. `difference` is the difference of the means of the residual
        stream, `pca` the first principal component of the differences of pairs. Attach the set to steer by it.
        """
        body = VectorRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = dict(body.validated_data)
        set_id, label = asked.pop("id"), asked.pop("label")
        count_for(request)
        reading = VectorReading.of(asked.pop("layer", None), asked.pop("hook_name", ""))
        row, made = reading.make_set(Recipe(**asked), set_id=set_id, label=label)
        data: Any = SAESerializer(row).data
        shown = visible(request.user, SAE, data, "id", "status")
        return Response({"sae": shown, "made": made.figures}, status=status.HTTP_201_CREATED)

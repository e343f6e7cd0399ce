"""The edited label of a feature, under /api/saes/{id}/features/{index}/label."""

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from steering.api import examples
from steering.api.label_serializers import FeatureLabelSerializer
from steering.api.pagination import Pages
from steering.api.parameters import sae_of
from steering.api.permissions import FeaturePermissions
from steering.api.schema import answer_example, errors, request_example
from steering.api.serializers import StrictMixin
from steering.labels.files import LABEL_LENGTH
from steering.labels.models import EditedLabel

INDEX = OpenApiParameter("index", int, "path", description="The feature.")


@extend_schema_serializer(examples=request_example({"label": "whales and the sea"}, "whales"))
class EditSerializer(StrictMixin):
    label = serializers.CharField(max_length=LABEL_LENGTH)  # type: ignore[assignment]


@extend_schema_serializer(examples=answer_example(examples.LABEL_VERSION))
class LabelVersionSerializer(serializers.Serializer[Any]):
    """A version of an edited label: who wrote or deleted it, when and how."""

    label = serializers.CharField()  # type: ignore[assignment]
    type = serializers.CharField(source="get_history_type_display", help_text="Created, Changed or Deleted.")
    date = serializers.DateTimeField(source="history_date")
    by = serializers.CharField(source="agent", help_text="The user, and the API key if there was one.")
    door = serializers.CharField(help_text="admin, api or command.")


class EditedLabelViewSet(GenericViewSet[Any]):
    """The label that users give a feature; its source is `edited`. It is shown before labels of other sources."""

    queryset = EditedLabel.objects.all()
    serializer_class: Any = FeatureLabelSerializer
    permission_classes = [FeaturePermissions]
    pagination_class = Pages

    def get_object(self) -> EditedLabel:
        """The label, where OPTIONS asks if it can be written."""
        found: EditedLabel = get_object_or_404(self.get_queryset(), sae=self.kwargs["id"], index=self.kwargs["index"])
        return found

    @extend_schema(
        parameters=[INDEX], request=EditSerializer, responses={200: FeatureLabelSerializer, **errors(400, 404, 409)}
    )
    def write(self, request: Request, id: str, index: int) -> Response:
        """Give the feature a label, in place of an earlier edited one. Labels of other sources stay."""
        body = EditSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        written = EditedLabel.objects.write(id, index, body.validated_data["label"])
        return Response(self.get_serializer(written).data)

    @extend_schema(parameters=[INDEX], responses={204: None, **errors(404, 409)})
    def remove(self, request: Request, id: str, index: int) -> Response:
        """Delete the edited label of the feature. Labels of other sources stay."""
        sae_of(id).check_feature(index)
        EditedLabel.objects.remove(id, index)
        return Response(status=204)

    @extend_schema(parameters=[INDEX], responses={200: LabelVersionSerializer(many=True), **errors(400, 404, 409)})
    def history(self, request: Request, id: str, index: int) -> Response:
        """List the versions of the edited label, newest first; also of a deleted label."""
        sae_of(id).check_feature(index)
        page = self.paginate_queryset(EditedLabel.objects.versions(id, index))
        return self.get_paginated_response(LabelVersionSerializer(page, many=True).data)

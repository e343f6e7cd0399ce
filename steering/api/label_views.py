"""Feature labels under /api/saes/{id}/labels."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from steering.api.label_serializers import DeletedLabelsSerializer, FeatureLabelSerializer, ImportedLabelsSerializer
from steering.api.parameters import known_parameters, parse_index, sae_of
from steering.api.permissions import LabelPermissions
from steering.api.schema import errors
from steering.api.uploads import UPLOAD, TakesFile, uploaded
from steering.labels.files import LabelFile
from steering.labels.models import FeatureLabel
from steering.labels.pagination import LabelPages

SEARCH = OpenApiParameter(
    "search", str, description="Labels with all these words; the last one may be unfinished. The best come first."
)
INDEX = OpenApiParameter(
    "index",
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}},
    description="Only of these features.",
)
SOURCE = OpenApiParameter("source", str, description="Only from this source.")
REPLACE = OpenApiParameter(
    "replace", bool, default=False, description="Delete all earlier labels of the file's sources first."
)
NAME = OpenApiParameter("source", str, description="The source of the labels; replaces the source that the file names.")


class FeatureLabelViewSet(TakesFile, GenericViewSet[FeatureLabel]):
    """Labels that say what the features of an SAE stand for."""

    queryset = FeatureLabel.objects.all()
    serializer_class = FeatureLabelSerializer
    permission_classes = [LabelPermissions]
    pagination_class = LabelPages

    @extend_schema(
        parameters=[SEARCH, INDEX, SOURCE], responses={200: FeatureLabelSerializer(many=True), **errors(400, 404)}
    )
    def list(self, request: Request, id: str) -> Response:
        """List the labels of an SAE in order of index, or the best matches of a search."""
        params = known_parameters(request, "search", "index", "source", "page", "page_size")
        labels = sae_of(id).labels.defer("vector")
        if "index" in params:
            labels = labels.filter(index__in=[parse_index(given) for given in params.getlist("index")])
        if "source" in params:
            labels = labels.filter(source=params["source"])
        if "search" in params:
            # One search serves both the count and the page; the page's rows are then read by their keys.
            found: Any = list(labels.search(params["search"]).values_list("pk", flat=True))
            chosen: Any = self.paginate_queryset(found)
            rows = labels.in_bulk(chosen)
            page: Any = [rows[pk] for pk in chosen if pk in rows]
        else:
            page = self.paginate_queryset(labels)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        request=UPLOAD,
        parameters=[NAME, REPLACE],
        responses={200: ImportedLabelsSerializer, **errors(400, 404, 409)},
        operation_id="saes_labels_import",
    )
    def import_(self, request: Request, id: str) -> Response:
        """Import a file: Neuronpedia's explanations (JSON array or JSON lines) or CSV (index,label[,source]).

        The file may be gzipped. It is the body, of any media type, or the part `file` of a form. All of its labels are
        imported, or none. A label replaces the stored label of the same feature and source.
        """
        params = known_parameters(request, "source", "replace")
        if (replace := params.get("replace", "false")) not in {"true", "false"}:
            raise ValidationError({"replace": [f"Got {replace!r}, expected true or false."]})
        if replace == "true" and not request.user.has_perm("steering.delete_featurelabel"):
            raise PermissionDenied("Replacing labels needs the permission steering.delete_featurelabel.")
        upload = uploaded(request)
        file = LabelFile(upload.file, upload.name, source=params.get("source", ""))
        imported = FeatureLabel.objects.import_files(id, [file], replace=replace == "true")
        return Response(ImportedLabelsSerializer(imported).data)

    @extend_schema(parameters=[SOURCE], responses={200: DeletedLabelsSerializer, **errors(400, 404)})
    def destroy(self, request: Request, id: str) -> Response:
        """Delete all labels of an SAE, or its labels of one source."""
        params = known_parameters(request, "source")
        labels = sae_of(id).labels.all()
        if "source" in params:
            labels = labels.filter(source=params["source"])
        return Response({"deleted": labels.delete()[0]})

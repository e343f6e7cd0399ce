"""Features under /api/saes/{id}/features: the list and the import. One feature is shown by the inference app."""

from typing import Any

from django.db.models import F
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from steering.api.feature_serializers import ImportedFeaturesSerializer, ListedFeatureSerializer
from steering.api.parameters import known_parameters, sae_of
from steering.api.permissions import FeaturePermissions
from steering.api.schema import errors
from steering.api.uploads import UPLOAD, TakesFile, uploaded
from steering.features.files import FeatureFile
from steering.features.models import Feature
from steering.labels.models import FeatureLabel
from steering.labels.pagination import BoundedPages

ORDERS: dict[str, list[Any]] = {
    "index": ["index"],
    "-maximum": [F("maximum").desc(nulls_last=True), "index"],
    "-density": [F("density").desc(nulls_last=True), "index"],
}
ORDER = OpenApiParameter(
    "order", str, enum=list(ORDERS), default="index", description="By index, or the largest first; unknown ones last."
)


class FeatureViewSet(TakesFile, GenericViewSet[Feature]):
    """Statistics of the features of an SAE."""

    queryset = Feature.objects.all()
    serializer_class = ListedFeatureSerializer
    permission_classes = [FeaturePermissions]
    pagination_class = BoundedPages

    @extend_schema(parameters=[ORDER], responses={200: ListedFeatureSerializer(many=True), **errors(400, 404)})
    def list(self, request: Request, id: str) -> Response:
        """List the features of an SAE that have statistics or examples, measured or imported."""
        order = known_parameters(request, "order", "page", "page_size").get("order", "index")
        if order not in ORDERS:
            raise ValidationError({"order": [f"Got {order!r:.100}, expected {', '.join(ORDERS)}."]})
        rows: Any = Feature.objects.filter(sae=sae_of(id)).order_by(*ORDERS[order])
        # The page is found in an index of PostgreSQL, which has the order; then its rows alone are read.
        page: Any = self.paginate_queryset(rows.values_list("index", flat=True))
        found = rows.filter(index__in=page).values("index", "maximum", "density", "mean")
        labels = FeatureLabel.objects.of(id, page)
        listed = [{**row, "label": labels.get(row["index"], "")} for row in found]
        return self.get_paginated_response(self.get_serializer(listed, many=True).data)

    @extend_schema(
        request=UPLOAD,
        responses={200: ImportedFeaturesSerializer, **errors(400, 404, 409)},
        operation_id="saes_features_import",
    )
    def import_(self, request: Request, id: str) -> Response:
        """Import a file of Neuronpedia's `features/` or `activations/` (JSON lines or JSON array).

        The file may be gzipped. It is the body, of any media type, or the part `file` of a form. All of it is imported,
        or nothing. Facts replace the stored facts of the same feature; the strongest examples are kept.
        """
        known_parameters(request)
        upload = uploaded(request)
        imported = Feature.objects.import_files(id, [FeatureFile(upload.file, upload.name)])
        return Response(ImportedFeaturesSerializer(imported).data)

"""Feature labels under /api/saes/{id}/labels."""

from collections.abc import Mapping
from typing import IO, Any

from django.utils.datastructures import MultiValueDict
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.parsers import BaseParser, DataAndFiles, FileUploadParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from steering.api.label_serializers import DeletedLabelsSerializer, FeatureLabelSerializer, ImportedLabelsSerializer
from steering.api.permissions import ModelPermissions
from steering.api.schema import errors
from steering.labels.files import LabelFile
from steering.labels.models import FeatureLabel
from steering.labels.pagination import LabelPages
from steering.models import SAE
from steering.saes import NoSuchSAE

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
FILE = {"type": "string", "format": "binary"}
UPLOAD = {
    "multipart/form-data": {"type": "object", "properties": {"file": FILE}, "required": ["file"]},
    "application/octet-stream": FILE,
}


class RawFile(FileUploadParser):
    """Takes a body of any media type as the file. Django keeps the file on disk."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        parsed: Any = super().parse(stream, media_type, parser_context)
        return DataAndFiles({}, MultiValueDict({"file": [parsed.files["file"]]}))

    def get_filename(self, stream: IO[Any], media_type: str | None, parser_context: Mapping[str, Any]) -> str:
        return super().get_filename(stream, media_type, parser_context) or "file"


class LabelPermissions(ModelPermissions):
    """An import needs the permissions to add and to change, since it may overwrite labels."""

    perms_map = {
        **ModelPermissions.perms_map,
        "POST": ["%(app_label)s.add_%(model_name)s", "%(app_label)s.change_%(model_name)s"],
    }


class FeatureLabelViewSet(GenericViewSet[FeatureLabel]):
    """Labels that say what the features of an SAE stand for."""

    queryset = FeatureLabel.objects.all()
    serializer_class = FeatureLabelSerializer
    permission_classes = [LabelPermissions]
    pagination_class = LabelPages

    def get_parsers(self) -> list[BaseParser]:
        """Parsers of files for an import, else the default parsers."""
        return (
            [MultiPartParser(), RawFile()] if self.request and self.request.method == "POST" else super().get_parsers()
        )

    @extend_schema(
        parameters=[SEARCH, INDEX, SOURCE], responses={200: FeatureLabelSerializer(many=True), **errors(400, 404)}
    )
    def list(self, request: Request, id: str) -> Response:
        """The labels of an SAE in order of index, or the best matches of a search."""
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


def sae_of(sae_id: str) -> SAE:
    """The SAE with this id. Raises NoSuchSAE."""
    sae = SAE.objects.filter(pk=sae_id).first()
    if sae is None:
        raise NoSuchSAE(f"there is no SAE {sae_id}")
    return sae


def known_parameters(request: Request, *names: str) -> Any:
    """The query string's parameters. Raises ValidationError for one that is not in `names`."""
    params = request.query_params
    if unknown := sorted(set(params) - {*names, "format"}):
        raise ValidationError({name: [f"This parameter is unknown: expected {', '.join(names)}."] for name in unknown})
    return params


def parse_index(given: str) -> int:
    if not (len(given) <= 10 and given.isascii() and given.isdecimal() and int(given) < 2**31):
        raise ValidationError({"index": [f"Got {given!r:.100}, expected a whole number from 0 to {2**31 - 1}."]})
    return int(given)


def uploaded(request: Request) -> Any:
    """The one file of the body, as Django's UploadedFile. Raises ValidationError."""
    request.data  # noqa: B018  # makes DRF parse the body
    files = [value for _, values in request.FILES.lists() for value in values]
    if len(files) != 1:
        raise ValidationError(
            {"file": [f"Got {len(files)} files, expected one: the body, or the part `file` of a form."]}
        )
    return files[0]

"""Files as the body of a request, or as a part of a form."""

from collections.abc import Mapping
from typing import IO, Any

from django.utils.datastructures import MultiValueDict
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser, DataAndFiles, FileUploadParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.views import APIView

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


class TakesFile(APIView):
    """A view whose POST takes a file."""

    def get_parsers(self) -> list[BaseParser]:
        """Parsers of files for a POST, else the default parsers."""
        takes = self.request and self.request.method == "POST"
        return [MultiPartParser(), RawFile()] if takes else super().get_parsers()


def uploaded(request: Request) -> Any:
    """The one file of the body, as Django's UploadedFile. Raises ValidationError."""
    request.data  # noqa: B018  # makes DRF parse the body
    files = [value for _, values in request.FILES.lists() for value in values]
    if len(files) != 1:
        raise ValidationError(
            {"file": [f"Got {len(files)} files, expected one: the body, or the part `file` of a form."]}
        )
    return files[0]

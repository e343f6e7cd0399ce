"""GET /api/saes/{id}/features/{index}/vector.gguf: a feature's direction as a control vector for llama.cpp."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from inference.api.reading import MayRead
from inference.broker.shares import count_for
from inference.reading.export import control_vector_file, file_name
from steering.api.parameters import known_parameters, sae_of
from steering.api.schema import errors

GGUF = "application/octet-stream"


class ControlVectorView(APIView):
    """The file of a feature, or of a vector."""

    permission_classes = [MayRead]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Errors are JSON, whichever type of file the client accepts."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(
        parameters=[OpenApiParameter("index", int, "path", description="The feature.")],
        responses={(200, GGUF): OpenApiTypes.BINARY, **errors(400, 404, 409, 503)},
        operation_id="saes_features_vector_retrieve",
    )
    def get(self, request: Request, id: str, index: int) -> HttpResponse:
        """Export the decoder direction of a feature, or a vector, as a control vector in GGUF.

        The direction is float32, as stored. Of a vector set that spans layers the file has all directions. A worker
        of the current model makes the file. llama.cpp refuses a direction after block 0.
        """
        known_parameters(request)
        count_for(request)
        sae = sae_of(id)
        file = control_vector_file(sae, index)
        headers = {"Content-Disposition": f'attachment; filename="{file_name(sae, index)}"'}
        return HttpResponse(file, content_type=GGUF, headers=headers)

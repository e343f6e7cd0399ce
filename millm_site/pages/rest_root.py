"""GET /api/: the URLs of all resources."""

from rest_framework import permissions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

RESOURCES = {
    "profiles": "profile-list",
    "steering": "steering",
    "models": "languagemodel-list",
    "saes": "sae-list",
    "saes/catalogue": "sae-catalogue",
    "setups": "setups",
    "vectors": "vectors",
    "activations": "activations",
    "features/contrast": "contrast",
    "sweeps": "sweeps",
    "schema": "schema",
    "docs": "docs",
}
"""{path: the name of its URL}."""


class RestRoot(APIView):
    """All resources. Vectors, activations and contrasts take a POST; `docs` describes every call."""

    name = "REST API"
    permission_classes = [permissions.IsAuthenticated]
    schema = None  # /api/schema describes the resources themselves

    def get(self, request: Request) -> Response:
        return Response({resource: reverse(name, request=request) for resource, name in RESOURCES.items()})

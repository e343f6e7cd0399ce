"""The live steering under /api/steering."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from steering.models import SteeringState
from steering.permissions import ChangePermissions
from steering.serializers import SteeringStateSerializer


class LiveSteeringViewSet(GenericViewSet[SteeringState]):
    """What steers a request that chooses nothing else. Every change needs the change permission."""

    queryset = SteeringState.objects.all()
    serializer_class = SteeringStateSerializer
    permission_classes = [ChangePermissions]

    def retrieve(self, request: Request) -> Response:
        return self._answer(SteeringState.objects.load())

    def update(self, request: Request) -> Response:
        """Replace the values; `enabled` defaults to true."""
        body = self.get_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        state = SteeringState.objects.load()
        state.replace(body.validated_data.get("values", {}), body.validated_data.get("enabled", True))
        return self._answer(state)

    def partial_update(self, request: Request) -> Response:
        """Set single features: an object of feature index: strength; 0 removes a feature."""
        state = SteeringState.objects.load()
        state.set_features(request.data)
        return self._answer(state)

    def enable(self, request: Request) -> Response:
        return self._do("enable")

    def disable(self, request: Request) -> Response:
        return self._do("disable")

    def clear(self, request: Request) -> Response:
        return self._do("clear")

    def _do(self, change: str) -> Response:
        state = SteeringState.objects.load()
        getattr(state, change)()
        return self._answer(state)

    def _answer(self, state: SteeringState) -> Response:
        data: dict[str, Any] = dict(self.get_serializer(state).data)
        return Response(data)

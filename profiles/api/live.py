"""The live steering under /api/steering."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from profiles.api.examples import LIVE
from profiles.api.live_serializers import (
    RestoreSteeringSerializer,
    SteeringStateSerializer,
    SteeringVersionSerializer,
    WholeSteeringVersionSerializer,
)
from steering.api.document_schema import SINGLE_STRENGTHS, examples
from steering.api.permissions import ChangePermissions, visible
from steering.api.schema import answer_example, errors
from steering.document import Steering
from steering.models import SteeringState

ANSWER = {200: SteeringStateSerializer}


class LiveSteeringViewSet(GenericViewSet[SteeringState]):
    """The live steering: it steers every request that selects no steering. Changes need the change permission."""

    queryset = SteeringState.objects.all()
    serializer_class = SteeringStateSerializer
    permission_classes = [ChangePermissions]

    def get_object(self) -> SteeringState:
        return SteeringState.objects.load()

    @extend_schema(responses=ANSWER)
    def retrieve(self, request: Request) -> Response:
        """Get the live steering, and whether it equals the active profile."""
        return self._answer(self.get_object())

    @extend_schema(responses={**ANSWER, **errors(400, 409)}, examples=[*examples("values"), *answer_example(LIVE)])
    def update(self, request: Request) -> Response:
        """Replace the live steering; `enabled` defaults to true."""
        body = self.get_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        state = self.get_object()
        given = body.validated_data
        steering = Steering.of_columns(given.get("strengths", {}), given.get("more", {}), features_field="steering")
        state.replace(steering, given.get("enabled", True), reason="replaced")
        return self._answer(state)

    @extend_schema(
        request={"application/json": SINGLE_STRENGTHS},
        responses={**ANSWER, **errors(400, 409)},
    )
    def partial_update(self, request: Request) -> Response:
        """Set single features. The body is {feature index: strength}; 0 removes a feature."""
        state = self.get_object()
        state.set_features(request.data)
        return self._answer(state)

    @extend_schema(request=None, responses=ANSWER)
    def enable(self, request: Request) -> Response:
        """Turn the live steering on."""
        return self._do("enable")

    @extend_schema(request=None, responses=ANSWER)
    def disable(self, request: Request) -> Response:
        """Turn the live steering off; its values are kept."""
        return self._do("disable")

    @extend_schema(request=None, responses=ANSWER)
    def clear(self, request: Request) -> Response:
        """Clear the live steering: nothing is steered."""
        return self._do("clear")

    @extend_schema(responses={200: SteeringVersionSerializer(many=True), **errors(400, 404)})
    def history(self, request: Request) -> Response:
        """List the versions of the live steering, newest first. `history/{version}` has the values of a version."""
        page = self.paginate_queryset(SteeringState.history.defer("strengths", "more"))
        return self.get_paginated_response(SteeringVersionSerializer(page, many=True).data)

    @extend_schema(responses={200: WholeSteeringVersionSerializer, **errors(404)})
    def past(self, request: Request, version: int) -> Response:
        """Get one version of the live steering with its values."""
        return Response(WholeSteeringVersionSerializer(SteeringState.objects.past(version)).data)

    @extend_schema(request=RestoreSteeringSerializer, responses={**ANSWER, **errors(400, 404, 409)})
    def restore(self, request: Request) -> Response:
        """Restore a version of the live steering; 409 if its SAE is not the attached SAE."""
        body = RestoreSteeringSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        state = self.get_object()
        state.restore(body.validated_data["version"])
        return self._answer(state)

    def _do(self, change: str) -> Response:
        state = self.get_object()
        getattr(state, change)()
        return self._answer(state)

    def _answer(self, state: SteeringState) -> Response:
        """The live steering, or only its version if the user may not view it."""
        data: dict[str, Any] = self.get_serializer(state).data
        return Response(visible(self.request.user, SteeringState, data, "version"))

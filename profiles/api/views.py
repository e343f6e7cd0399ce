"""Profiles under /api/profiles: create, read, update, delete, activate."""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils.cache import get_conditional_response
from django.utils.http import parse_etags, quote_etag
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import permissions, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from profiles.api.examples import NEW_PROFILE, PROFILE
from profiles.api.files import TransferActions
from profiles.api.filters import BACKENDS, ProfileFilter
from profiles.api.history import HistoryActions
from profiles.api.pagination import ProfilePages
from profiles.api.serializers import DuplicateSerializer, ProfileNameSerializer, ProfileSerializer
from profiles.errors import NoActiveProfile, StaleProfile
from profiles.models import Profile
from steering.api.document_schema import examples
from steering.api.permissions import ModelPermissions, visible
from steering.api.schema import answer_example, errors, request_example
from steering.models import SteeringState

IF_MATCH = OpenApiParameter(
    "If-Match", str, "header", description="An ETag from a GET; 412 if the profile changed since."
)
CLEAR_STEERING = OpenApiParameter("clear_steering", bool, default=True, description="Clear the live steering too.")


class MayActivate(permissions.BasePermission):
    """The permission `profiles.activate_profile`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("profiles.activate_profile"))


@extend_schema_view(
    list=extend_schema(summary="List the profiles", responses={200: ProfileSerializer(many=True), **errors(400, 404)}),
    create=extend_schema(
        summary="Create a profile",
        responses={201: ProfileSerializer, **errors(400, 409)},
        examples=[
            *request_example(NEW_PROFILE),
            *examples("steering", name="ocean"),
            *answer_example(PROFILE),
        ],
    ),
    retrieve=extend_schema(summary="Get a profile", responses={200: ProfileSerializer, **errors(404)}),
    update=extend_schema(
        summary="Replace a profile",
        parameters=[IF_MATCH],
        responses={200: ProfileSerializer, **errors(400, 404, 409, 412)},
        examples=request_example(NEW_PROFILE) + answer_example(PROFILE),
    ),
    partial_update=extend_schema(
        summary="Change fields of a profile",
        examples=request_example({"description": "Talks about the sea."}) + answer_example(PROFILE),
        parameters=[IF_MATCH],
        responses={200: ProfileSerializer, **errors(400, 404, 409, 412)},
    ),
    destroy=extend_schema(
        summary="Delete a profile", parameters=[IF_MATCH], responses={204: None, **errors(400, 404, 412)}
    ),
)
class ProfileViewSet(HistoryActions, TransferActions, viewsets.ModelViewSet[Profile]):
    """Profiles: named sets of features with their strengths."""

    queryset = Profile.objects.all()
    serializer_class = ProfileSerializer
    permission_classes = [ModelPermissions]
    pagination_class = ProfilePages
    filter_backends = BACKENDS
    filterset_class = ProfileFilter
    search_fields = ["name", "description"]
    ordering_fields = ["name", "created_at", "updated_at", "model_id", "sae_id", "layer", "strongest"]

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Create a profile. Without `steering` it copies the live steering."""
        body = self.get_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self.answer(body.save(), status.HTTP_201_CREATED)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        profile = self.get_object()
        answer = self.answer(profile)
        # 304 if If-None-Match has the ETag. Django's function wants a plain response, and returns it unchanged.
        conditional: Any = get_conditional_response(request._request, etag=answer["ETag"], response=answer)
        return answer if conditional is None else conditional

    @transaction.atomic
    def update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        profile = self.get_object_to_change()
        body = self.get_serializer(profile, data=request.data, partial=kwargs.get("partial", False))
        body.is_valid(raise_exception=True)
        body.save()
        return self.answer(profile)

    @transaction.atomic
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.get_object_to_change().delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses={200: ProfileSerializer, **errors(404)}, filters=False)
    @action(detail=False, pagination_class=None)
    def active(self, request: Request) -> Response:
        """Get the active profile."""
        profile = Profile.objects.active()
        if profile is None:
            raise NoActiveProfile("no profile is active")
        return self.answer(profile)

    @extend_schema(request=ProfileNameSerializer, responses={201: ProfileSerializer, **errors(400, 409)})
    @action(detail=False, methods=["post"], url_path="save-current")
    def save_current(self, request: Request) -> Response:
        """Save the live steering as a new profile."""
        body = ProfileNameSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self.answer(Profile.objects.save_current(**body.validated_data), status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={200: ProfileSerializer, **errors(404, 409)})
    @action(detail=True, methods=["post"], permission_classes=[MayActivate])
    def activate(self, request: Request, pk: str) -> Response:
        """Activate the profile: it steers every request that selects no steering."""
        with transaction.atomic():
            profile = self.get_object_to_change()
            profile.activate()
        return self.answer(profile)

    @extend_schema(
        request=None, parameters=[CLEAR_STEERING], responses={200: ProfileSerializer, **errors(400, 404, 412)}
    )
    @action(detail=True, methods=["post"], permission_classes=[MayActivate])
    def deactivate(self, request: Request, pk: str) -> Response:
        """Deactivate the profile; by default the live steering is cleared too."""
        clear_steering = query_flag(request, "clear_steering", default=True)
        with transaction.atomic():
            profile = self.get_object_to_change()
            profile.deactivate(clear_steering=clear_steering)
        return self.answer(profile)

    @extend_schema(request=DuplicateSerializer, responses={201: ProfileSerializer, **errors(400, 404, 409)})
    @action(detail=True, methods=["post"])
    def duplicate(self, request: Request, pk: str) -> Response:
        """Copy the profile under `name`, or under a free name like the original's."""
        body = DuplicateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self.answer(self.get_object().duplicate(body.validated_data.get("name")), status.HTTP_201_CREATED)

    def get_object(self) -> Profile:
        return Profile.objects.with_id(str(self.kwargs["pk"]))

    def get_object_to_change(self) -> Profile:
        """Lock the live steering and load the profile. Raises StaleProfile if If-Match names another state of it."""
        SteeringState.objects.lock()
        profile = self.get_object()
        given = self.request.headers.get("If-Match")
        if given is not None:
            tags = parse_etags(given)
            if not tags:
                raise ValidationError({"If-Match": [f'Got {given}, expected an ETag in quotes, or "*".']})
            if tags != ["*"] and etag(self.get_serializer(profile).data) not in tags:
                raise StaleProfile(f"{profile} has changed since the ETag in If-Match: read it again")
        return profile

    def answer(self, profile: Profile, code: int = status.HTTP_200_OK) -> Response:
        """The profile with its ETag; only id and name if the user may not view profiles."""
        data = ProfileSerializer(profile).data
        shown = visible(self.request.user, Profile, data, "id", "name")
        return Response(shown, status=code, headers={"ETag": etag(data)})


def etag(data: Mapping[str, Any]) -> str:
    """A strong ETag of a profile's JSON."""
    return quote_etag(hashlib.sha256(JSONRenderer().render(data)).hexdigest()[:32])


def query_flag(request: Request, name: str, *, default: bool) -> bool:
    """A boolean parameter of the query string, `true` or `false`. Raises ValidationError."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if given not in {"true", "false"}:
        raise ValidationError({name: [f"Got {given!r}, expected true or false."]})
    return given == "true"

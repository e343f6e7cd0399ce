"""The history of profiles through REST: list, compare, restore."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from profiles.api.serializers import (
    DiffSerializer,
    ProfileSerializer,
    RestoreSerializer,
    VersionSerializer,
    WholeVersionSerializer,
)
from profiles.diff import diff
from profiles.errors import ProfileNotFound
from profiles.managers import ID
from profiles.models import Profile
from steering.api.pagination import Pages
from steering.api.permissions import ModelPermissions
from steering.api.schema import errors

AGAINST = OpenApiParameter(
    "against", str, required=True, description="Another profile's id, or the number of a version of this profile."
)
VERSION = OpenApiParameter(
    "version", int, description="The version of this profile to compare; by default the profile as it is now."
)
NUMBER = OpenApiParameter("version", int, "path")
PROFILE_ID = OpenApiParameter("id", str, "path")


class MayRestore(ModelPermissions):
    """Restoring needs the permission to change, though it is a POST."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["%(app_label)s.change_%(model_name)s"]}


class HistoryActions:
    """The actions of ProfileViewSet on versions. They work on deleted profiles too."""

    @extend_schema(
        parameters=[PROFILE_ID], responses={200: VersionSerializer(many=True), **errors(400, 404)}, filters=False
    )
    @action(detail=True, pagination_class=Pages)
    def history(self, request: Request, pk: str) -> Response:
        """List the versions of the profile, newest first. `history/{version}` has the content of a version."""
        view: Any = self
        versions = (
            Profile.objects.versions(known(pk))
            .select_related("history_user")
            .defer("description", "tags", "notes", "strengths", "more")
        )
        page = view.paginate_queryset(versions)
        answer: Response = view.get_paginated_response(VersionSerializer(page, many=True).data)
        return answer

    @extend_schema(
        parameters=[PROFILE_ID, NUMBER], responses={200: WholeVersionSerializer, **errors(404)}, filters=False
    )
    @action(detail=True, url_path="history/(?P<version>[0-9]{1,19})", url_name="version", pagination_class=None)
    def version(self, request: Request, pk: str, version: str) -> Response:
        """Get one version with its content."""
        past = Profile.objects.version(known(pk), int(version))
        past.number = Profile.objects.number(past)
        return Response(WholeVersionSerializer(past).data)

    @extend_schema(
        parameters=[PROFILE_ID], request=RestoreSerializer, responses={200: ProfileSerializer, **errors(400, 404, 409)}
    )
    @action(detail=True, methods=["post"], permission_classes=[MayRestore])
    def restore(self, request: Request, pk: str) -> Response:
        """Restore a version of the profile, also of a deleted profile."""
        body = RestoreSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        if not Profile.objects.filter(pk=known(pk)).exists() and not request.user.has_perm("profiles.add_profile"):
            raise PermissionDenied("Restoring a deleted profile needs the permission profiles.add_profile.")
        view: Any = self
        answer: Response = view.answer(Profile.objects.restore(pk, **body.validated_data))
        return answer

    @extend_schema(parameters=[PROFILE_ID, AGAINST, VERSION], responses={200: DiffSerializer, **errors(400, 404)})
    @action(detail=True)
    def diff(self, request: Request, pk: str) -> Response:
        """Compare the profile, or one of its versions, with `against`."""
        against, version = request.query_params.get("against"), request.query_params.get("version")
        if not against:
            raise ValidationError({"against": ["This parameter is required: a profile's id or a version's number."]})
        view: Any = self
        here = view.get_object() if version is None else self._version(pk, version, "version")
        there = self._version(pk, against, "against") if against.isdecimal() else Profile.objects.with_id(against)
        return Response(DiffSerializer(diff(here, there)).data)

    def _version(self, pk: str, number: str, parameter: str) -> Any:
        if not (number.isascii() and number.isdecimal() and len(number) < 20):
            raise ValidationError({parameter: [f"Got {number!r}, expected the number of a version."]})
        return Profile.objects.version(pk, int(number))


def known(pk: str) -> str:
    """Return `pk`, the id of an existing or a deleted profile. Raises ProfileNotFound."""
    if not ID.match(pk) or not (Profile.objects.filter(pk=pk).exists() or Profile.history.filter(id=pk).exists()):
        raise ProfileNotFound(f"there is no profile {pk!r}, and there was none")
    return pk

"""Profiles under /api/profiles."""

from typing import Any

from rest_framework import permissions, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from profiles.errors import NoActiveProfile
from profiles.models import Profile
from profiles.serializers import ProfileSerializer, SaveCurrentSerializer
from steering.permissions import ModelPermissions


class MayActivate(permissions.BasePermission):
    """The permission `profiles.activate_profile`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("profiles.activate_profile"))


class ProfileViewSet(viewsets.ModelViewSet[Profile]):
    queryset = Profile.objects.all()
    serializer_class = ProfileSerializer
    permission_classes = [ModelPermissions]

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().list(request, *args, **kwargs)
        active = Profile.objects.active()
        response.data["active_profile_id"] = active.pk if active else None
        return response

    @action(detail=False)
    def active(self, request: Request) -> Response:
        """The active profile."""
        profile = Profile.objects.active()
        if profile is None:
            raise NoActiveProfile("no profile is active")
        return self._answer(profile)

    @action(detail=False, methods=["post"], url_path="save-current")
    def save_current(self, request: Request) -> Response:
        """The live steering as a new profile."""
        body = SaveCurrentSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self._answer(Profile.objects.save_current(**body.validated_data), status.HTTP_201_CREATED)

    @action(detail=True, methods=["post"], permission_classes=[MayActivate])
    def activate(self, request: Request, pk: str) -> Response:
        """Steer everybody by this profile."""
        profile = self.get_object()
        profile.activate()
        return self._answer(profile)

    @action(detail=True, methods=["post"], permission_classes=[MayActivate])
    def deactivate(self, request: Request, pk: str) -> Response:
        """End its being active; `?clear_steering=false` leaves the live steering as it is."""
        profile = self.get_object()
        profile.deactivate(clear_steering=query_flag(request, "clear_steering", default=True))
        return self._answer(profile)

    def _answer(self, profile: Profile, code: int = status.HTTP_200_OK) -> Response:
        return Response(self.get_serializer(profile).data, status=code)


def query_flag(request: Request, name: str, *, default: bool) -> bool:
    """A boolean of the query string, which is `true` or `false`."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if given not in {"true", "false"}:
        raise ValidationError({name: [f"Got {given!r}, expected true or false."]})
    return given == "true"

"""Import and export of profile files through REST."""

from typing import Any, get_args

from django.db import transaction
from django.http import HttpResponse
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from profiles.api.examples import FINGERPRINT, IMPORTED_BUNDLE, IMPORTED_FILE, STEERING
from profiles.api.serializers import ImportedBundleSerializer, ImportedFileSerializer, ImportedSerializer
from profiles.errors import ProfileNotFound
from profiles.files import facts, transfer
from profiles.files.transfer import Imported, ProfileFile
from profiles.managers import OnConflict
from profiles.models import Profile
from steering.api.permissions import visible
from steering.api.schema import answer_example, errors

ON_CONFLICT = OpenApiParameter(
    "on_conflict",
    enum=get_args(OnConflict),
    default="fail",
    description="If a name exists: refuse the file, use a free name, or give the existing profile the new content.",
)
FILE = {
    "version": "1.0",
    "type": "millm_profile",
    "profile": {
        "name": "ocean",
        "description": "Talks about the topic ocean.",
        "model": "demo",
        "sae": "demo-sae",
        "layer": 1,
        "steering": STEERING,
        "sae_fingerprint": FINGERPRINT,
    },
    "exported_at": "2026-01-01T00:00:00+00:00",
    "exported_from": "miLLM v0.1.0",
}
FILE_SCHEMA = OpenApiResponse({"type": "object", "additionalProperties": True}, "The file", [OpenApiExample("1", FILE)])
NAME = OpenApiParameter("name", str, many=True, description="Only profiles with these names.")


class TransferActions:
    """The actions of ProfileViewSet that read and write files."""

    @extend_schema(
        request={"application/json": {"type": "object", "additionalProperties": True}},
        examples=[
            OpenApiExample("A profile file", FILE, request_only=True),
            *answer_example(IMPORTED_FILE, "of one profile"),
            *answer_example(IMPORTED_BUNDLE, "of several profiles"),
        ],
        parameters=[ON_CONFLICT],
        responses={
            201: PolymorphicProxySerializer(
                component_name="Import",
                serializers=[ImportedFileSerializer, ImportedBundleSerializer],
                resource_type_field_name=None,
            ),
            **errors(400, 409),
        },
    )
    @action(detail=False, methods=["post"], url_path="import")
    def import_(self, request: Request) -> Response:
        """Import all profiles of a file, or none. The answer is the profile; for a bundle it is `results`."""
        on_conflict: Any = request.query_params.get("on_conflict", "fail")
        if on_conflict not in get_args(OnConflict):
            expected = ", ".join(get_args(OnConflict))
            raise ValidationError({"on_conflict": [f"Got {on_conflict!r}, expected one of {expected}."]})
        if on_conflict == "replace" and not request.user.has_perm("profiles.change_profile"):
            raise PermissionDenied("Replacing profiles needs the permission profiles.change_profile.")
        file = ProfileFile.parse(request.data)
        with transaction.atomic():
            imported = Profile.objects.import_file(file, on_conflict)
            notes = facts.keep(file.facts, may_keep=request.user.has_perms(facts.PERMISSIONS))
        return Response(_answer(imported, file, [*file.notes, *notes], request.user), status=status.HTTP_201_CREATED)

    @extend_schema(
        parameters=[NAME], responses={200: FILE_SCHEMA, **errors(400, 404)}, operation_id="profiles_export_all"
    )
    @action(detail=False, url_path="export", pagination_class=None)
    def export_many(self, request: Request) -> HttpResponse:
        """Export all profiles in one file, or those that match the filters and `name`."""
        view: Any = self
        names = request.query_params.getlist("name")
        chosen = view.filter_queryset(Profile.objects.all())
        if names:
            chosen = chosen.filter(name__in=names)
            if missing := sorted(set(names) - {profile.name for profile in chosen}):
                raise ProfileNotFound(f"there is no profile {missing[0]!r} among the profiles that match the filters")
        return transfer.download(transfer.bundle(chosen), transfer.bundle_name(chosen.count()))

    @extend_schema(responses={200: FILE_SCHEMA, **errors(404)})
    @action(detail=True)
    def export(self, request: Request, pk: str) -> HttpResponse:
        """Export the profile as a file."""
        view: Any = self
        profile = view.get_object()
        return transfer.download(transfer.document(profile), profile.name)


def _answer(imported: list[Imported], file: ProfileFile, notes: list[str], user: Any) -> dict[str, Any]:
    results = [_json(result, user) for result in imported]
    content = {"count": len(results), "results": results} if file.is_bundle else results[0]
    return {**content, "notes": notes}


def _json(imported: Imported, user: Any) -> dict[str, Any]:
    imported.profile.outcome = imported.outcome  # type: ignore[attr-defined]
    return visible(user, Profile, ImportedSerializer(imported.profile).data, "id", "name", "outcome")

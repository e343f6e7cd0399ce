"""GET /api/setups and POST /api/setups/{id}/restore: the previous setups, and the switch back to one."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import permissions, serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from inference.api import examples
from inference.api.serializers import ModelSerializer
from inference.models import LanguageModel
from inference.setups.models import Setup
from steering.api.parameters import known_parameters
from steering.api.permissions import visible
from steering.api.schema import answer_example, errors, request_example
from steering.api.serializers import StrictMixin


class SetupSAESerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    also = serializers.BooleanField(help_text="Attached in addition to the main attached SAE.")


class SetupProfileSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(source="profile_id")
    name = serializers.CharField(source="profile_name")


class SetupSteeringSerializer(serializers.Serializer[Any]):
    enabled = serializers.BooleanField()
    features = serializers.SerializerMethodField(help_text="The number of features in all parts.")

    def get_features(self, setup: Setup) -> int:
        return setup.document.number


@extend_schema_serializer(examples=answer_example(examples.SETUP, "the demo with a profile"))
class SetupSerializer(serializers.ModelSerializer[Setup]):
    """A setup that was left: a model with its load options, its SAEs, its profile, and live steering set by hand."""

    model = serializers.CharField(source="model_name")
    saes = SetupSAESerializer(many=True, help_text="The main attached SAE first.")
    profile = serializers.SerializerMethodField(help_text="The active profile; null where none was active.")
    steering = serializers.SerializerMethodField(
        help_text="The live steering where it was set by hand; null where it was that of the profile, or empty."
    )
    why = serializers.CharField(help_text="The change that ended it.")
    by = serializers.CharField(source="author", help_text="Who made that change.")
    missing = serializers.ListField(
        child=serializers.CharField(), help_text="A sentence for each part that was deleted or replaced."
    )

    class Meta:
        model = Setup
        fields = ["id", "model", "dtype", "device", "saes", "profile", "steering", "why", "by", "left_at", "missing"]
        read_only_fields = fields

    @extend_schema_field(SetupProfileSerializer(allow_null=True))
    def get_profile(self, setup: Setup) -> Any:
        return SetupProfileSerializer(setup).data if setup.profile_id else None

    @extend_schema_field(SetupSteeringSerializer(allow_null=True))
    def get_steering(self, setup: Setup) -> Any:
        return SetupSteeringSerializer(setup).data if setup.is_by_hand else None


@extend_schema_serializer(examples=request_example({"partly": True}, "without the missing parts"))
class RestoreSetupSerializer(StrictMixin):
    partly = serializers.BooleanField(
        default=False, help_text="Restore the rest where a part cannot be restored, which is refused otherwise."
    )


@extend_schema_serializer(examples=answer_example(examples.RESTORED, "the demo"))
class RestoredSetupSerializer(serializers.Serializer[Any]):
    """The model that is loaded now, and a sentence for each part of the setup that could not be restored."""

    model = ModelSerializer()
    missing = serializers.ListField(child=serializers.CharField())


class SetupViewSet(GenericViewSet[Setup]):
    """The last five setups that a load or an unload ended."""

    queryset = Setup.objects.all()
    serializer_class = SetupSerializer
    permission_classes = [permissions.IsAuthenticated]
    pagination_class = None

    @extend_schema(summary="List the previous setups", responses={200: SetupSerializer(many=True), **errors(400)})
    def list(self, request: Request) -> Response:
        """The setups that you may view, the last one first, without the present one."""
        known_parameters(request)
        if not request.user.has_perm("inference.view_languagemodel"):
            raise PermissionDenied
        seen = [setup for setup in Setup.objects.others() if setup.may_be_seen_by(request.user)]
        return Response(SetupSerializer(seen, many=True).data)

    @extend_schema(
        summary="Go back to a setup",
        request=RestoreSetupSerializer,
        responses={200: RestoredSetupSerializer, **errors(400, 404, 409)},
    )
    def restore(self, request: Request, id: int) -> Response:
        """Load the model, attach the SAEs and activate the profile of a setup; the present setup is kept.

        The user needs the permissions for all of these steps. Where a part is missing, the request is refused and
        nothing changes; `partly` restores the rest. `status` and `progress` of the model show the load.
        """
        if not request.user.has_perm("inference.change_languagemodel"):
            raise PermissionDenied
        body = RestoreSetupSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        setup = Setup.objects.with_id(id)
        if not setup.may_be_restored_by(request.user):
            raise PermissionDenied
        missing = setup.restore(**body.validated_data)
        model = ModelSerializer(LanguageModel.objects.current()).data
        shown = visible(request.user, LanguageModel, model, "id", "name", "status")
        return Response({"model": shown, "missing": missing})

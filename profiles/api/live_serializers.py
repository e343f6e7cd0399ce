"""The live steering as JSON, beside the active profile."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from profiles.api import examples
from profiles.models import Profile
from steering.api.document_serializers import DocumentSettings
from steering.api.label_serializers import Labels
from steering.api.schema import answer_example, request_example
from steering.api.serializers import FeatureStrengths, StrictMixin
from steering.document.steering import SETTINGS
from steering.history import Door
from steering.models import SAE, SteeringState


class ActiveProfile(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()


@extend_schema_serializer(examples=answer_example(examples.LIVE))
class SteeringStateSerializer(StrictMixin, DocumentSettings, serializers.ModelSerializer[SteeringState]):
    values = FeatureStrengths(source="strengths", required=False)
    labels = Labels()
    sae_id = serializers.SerializerMethodField(help_text="The attached SAE, whose features these are.")
    active_profile = serializers.SerializerMethodField()
    equals_active_profile = serializers.SerializerMethodField(
        help_text="True where the live steering equals the active profile; null where no profile is active."
    )

    class Meta:
        model = SteeringState
        fields = [
            "enabled",
            "values",
            *SETTINGS,
            "labels",
            "version",
            "sae_id",
            "active_profile",
            "equals_active_profile",
            "updated_at",
        ]
        read_only_fields = ["version", "updated_at"]

    def get_sae_id(self, state: SteeringState) -> str | None:
        sae = SAE.objects.attached()
        return sae.id if sae else None

    @extend_schema_field(ActiveProfile(allow_null=True))
    def get_active_profile(self, state: SteeringState) -> dict[str, str] | None:
        profile = Profile.objects.active()
        return {"id": profile.pk, "name": profile.name} if profile else None

    def get_equals_active_profile(self, state: SteeringState) -> bool | None:
        profile = Profile.objects.active()
        return not profile.differs_from(state) if profile else None


@extend_schema_serializer(examples=answer_example(examples.LIVE_VERSION))
class SteeringVersionSerializer(serializers.Serializer[Any]):
    """One version of the live steering in a list: its author and reason, without its values, which may be many."""

    version = serializers.IntegerField()
    reason = serializers.CharField(source="history_change_reason", allow_null=True)
    at = serializers.DateTimeField(source="history_date")
    door = serializers.ChoiceField(choices=Door.choices)
    agent = serializers.CharField()
    enabled = serializers.BooleanField()
    sae_id = serializers.CharField()


@extend_schema_serializer(examples=answer_example(examples.WHOLE_LIVE_VERSION))
class WholeSteeringVersionSerializer(DocumentSettings, SteeringVersionSerializer):
    """One version of the live steering, with its values."""

    values = FeatureStrengths(source="strengths")
    labels = Labels()


@extend_schema_serializer(examples=request_example({"version": 12}))
class RestoreSteeringSerializer(StrictMixin):
    version = serializers.IntegerField(min_value=0, max_value=2**63 - 1)

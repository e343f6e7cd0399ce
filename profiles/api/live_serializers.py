"""The live steering as JSON, beside the active profile."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from profiles.models import Profile
from steering.api.document_serializers import DocumentSettings
from steering.api.label_serializers import Labels
from steering.api.serializers import FeatureStrengths, StrictMixin
from steering.document.steering import SETTINGS
from steering.history import Door
from steering.models import SAE, SteeringState


class ActiveProfile(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()


class SteeringStateSerializer(StrictMixin, DocumentSettings, serializers.ModelSerializer[SteeringState]):
    values = FeatureStrengths(source="strengths", required=False)
    labels = Labels()
    sae_id = serializers.SerializerMethodField(help_text="The attached SAE, whose features these are.")
    active_profile = serializers.SerializerMethodField()
    equals_active_profile = serializers.SerializerMethodField(
        help_text="Whether the active profile still is what steers; null where none is active."
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


class SteeringVersionSerializer(serializers.Serializer[Any]):
    """One version of the live steering in the list: who made it so, and without its values, which may be many."""

    version = serializers.IntegerField()
    reason = serializers.CharField(source="history_change_reason", allow_null=True)
    at = serializers.DateTimeField(source="history_date")
    door = serializers.ChoiceField(choices=Door.choices)
    agent = serializers.CharField()
    enabled = serializers.BooleanField()
    sae_id = serializers.CharField()


class WholeSteeringVersionSerializer(DocumentSettings, SteeringVersionSerializer):
    """The same, with its values."""

    values = FeatureStrengths(source="strengths")
    labels = Labels()


class RestoreSteeringSerializer(StrictMixin):
    version = serializers.IntegerField(min_value=0, max_value=2**63 - 1)

"""The live steering as JSON."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from steering.api.label_serializers import Labels
from steering.history import Door
from steering.models import SAE, SteeringState, active_profile

UNKNOWN_SHOWN = 20  # keeps the answer smaller than the request


class StrictMixin(serializers.Serializer[Any]):
    """Refuses unknown fields, so that a misspelled field is not silently ignored."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError(
                {name[:100]: ["This field is unknown."] for name in unknown[:UNKNOWN_SHOWN]}
            )
        return super().to_internal_value(data)


STRENGTHS = {
    "type": "object",
    "description": "Feature index (a whole number as a string): strength.",
    "additionalProperties": {"type": "number"},
    "example": {"123": 5.0, "456": -2.5},
}


@extend_schema_field(STRENGTHS)
class FeatureStrengths(serializers.JSONField):
    """{feature index: strength}. The model checks the values, since only the model knows the SAE."""


class ActiveProfile(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()


class SteeringStateSerializer(StrictMixin, serializers.ModelSerializer[SteeringState]):
    values = FeatureStrengths(required=False)
    labels = Labels("values")
    sae_id = serializers.SerializerMethodField(help_text="The attached SAE, whose features these are.")
    active_profile = serializers.SerializerMethodField()
    equals_active_profile = serializers.SerializerMethodField(
        help_text="True if the live steering equals the active profile; null if no profile is active."
    )

    class Meta:
        model = SteeringState
        fields = [
            "enabled",
            "values",
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
        profile = active_profile()
        return {"id": profile.pk, "name": profile.name} if profile else None

    def get_equals_active_profile(self, state: SteeringState) -> bool | None:
        profile = active_profile()
        return not profile.differs_from(state) if profile else None


class SteeringVersionSerializer(serializers.Serializer[Any]):
    """One version of the live steering in a list: its author and reason, without its values, which may be many."""

    version = serializers.IntegerField()
    reason = serializers.CharField(source="history_change_reason", allow_null=True)
    at = serializers.DateTimeField(source="history_date")
    door = serializers.ChoiceField(choices=Door.choices)
    agent = serializers.CharField()
    enabled = serializers.BooleanField()
    sae_id = serializers.CharField()


class WholeSteeringVersionSerializer(SteeringVersionSerializer):
    """One version of the live steering, with its values."""

    values = FeatureStrengths()
    labels = Labels("values")


class RestoreSteeringSerializer(StrictMixin):
    version = serializers.IntegerField(min_value=0, max_value=2**63 - 1)

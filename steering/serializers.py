"""The live steering as JSON."""

from typing import Any

from rest_framework import serializers

from steering.models import SAE, SteeringState


class SteeringStateSerializer(serializers.ModelSerializer[SteeringState]):
    """`values` is an object of feature index (a string in JSON): strength, for the attached SAE."""

    sae_id = serializers.SerializerMethodField()

    class Meta:
        model = SteeringState
        fields = ["enabled", "values", "version", "sae_id", "updated_at"]
        read_only_fields = ["version", "updated_at"]

    def get_sae_id(self, state: SteeringState) -> str | None:
        sae = SAE.objects.attached()
        return sae.id if sae else None

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - {"enabled", "values"}) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError({name: ["This field is unknown."] for name in unknown})
        return super().to_internal_value(data)

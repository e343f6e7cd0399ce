"""Profiles as JSON."""

from typing import Any

from rest_framework import serializers

from profiles.models import Profile


class StrictMixin(serializers.Serializer[Any]):
    """Refuses fields it does not know: a misspelled field is not silently ignored."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError({name: ["This field is unknown."] for name in unknown})
        return super().to_internal_value(data)


class ProfileSerializer(StrictMixin, serializers.ModelSerializer[Profile]):
    """`steering` is an object of feature index (a string in JSON): strength."""

    class Meta:
        model = Profile
        fields = [
            "id",
            "name",
            "description",
            "model_id",
            "sae_id",
            "layer",
            "sae_fingerprint",
            "steering",
            "is_active",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "is_active", "created_at", "updated_at"]
        # A name that exists is a conflict (409), which Profile.save finds under its lock.
        extra_kwargs = {"name": {"validators": []}}

    def create(self, validated_data: dict[str, Any]) -> Profile:
        return Profile.objects.create_from(**validated_data)


class SaveCurrentSerializer(StrictMixin):
    """The new profile of `save-current`."""

    name = serializers.CharField(max_length=100)
    description = serializers.CharField(required=False, allow_null=True, allow_blank=True)

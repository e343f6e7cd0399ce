"""Profiles as JSON."""

from typing import Any, ClassVar

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
        extra_kwargs: ClassVar[dict[str, Any]] = {"name": {"validators": []}}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.instance is not None and not self.partial and "steering" not in attrs:
            raise serializers.ValidationError({"steering": ["This field is required to replace a profile."]})
        return attrs

    def update(self, instance: Profile, validated_data: dict[str, Any]) -> Profile:
        """PATCH changes what is given; PUT replaces: what it leaves out is as in a new profile."""
        if not self.partial:
            validated_data = {"description": None, **Profile.objects.defaults(), **validated_data}
        return super().update(instance, validated_data)

    def create(self, validated_data: dict[str, Any]) -> Profile:
        return Profile.objects.create_from(**validated_data)


class SaveCurrentSerializer(StrictMixin):
    """The new profile of `save-current`."""

    name = serializers.CharField(max_length=100)
    description = serializers.CharField(required=False, allow_null=True, allow_blank=True)

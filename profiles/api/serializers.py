"""Profiles, their files and their versions as JSON."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from profiles.api import examples
from profiles.files.formats import DESCRIPTION_LENGTH, NAME_LENGTH
from profiles.models import Profile
from profiles.tags import MAX_TAGS, TAG_LENGTH
from steering.api.document_schema import STRENGTH
from steering.api.document_serializers import DocumentSettings
from steering.api.label_serializers import Labels
from steering.api.schema import answer_example, request_example
from steering.api.serializers import FeatureStrengths, StrictMixin
from steering.document.steering import SETTINGS
from steering.history import Door

VERSION_TYPES = {"+": "created", "~": "changed", "-": "deleted"}


@extend_schema_field(
    {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": TAG_LENGTH}, "maxItems": MAX_TAGS}
)
class Tags(serializers.JSONField):
    """A list of texts, checked by the model."""


@extend_schema_serializer(examples=answer_example(examples.PROFILE))
class ProfileSerializer(StrictMixin, DocumentSettings, serializers.ModelSerializer[Profile]):
    steering = FeatureStrengths(source="strengths", required=False)
    tags = Tags(required=False)
    labels = Labels()

    class Meta:
        model = Profile
        fields = [
            "id",
            "name",
            "description",
            "tags",
            "notes",
            "model_id",
            "sae_id",
            "layer",
            "sae_fingerprint",
            "steering",
            *SETTINGS,
            "labels",
            "is_active",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "is_active", "created_at", "updated_at"]
        # A name that exists is a conflict (409), which Profile.save finds under its lock.
        extra_kwargs: ClassVar[dict[str, Any]] = {"name": {"validators": []}}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.instance is not None and not self.partial and "strengths" not in attrs:
            raise serializers.ValidationError({"steering": ["This field is required to replace a profile."]})
        return attrs

    def update(self, instance: Profile, validated_data: dict[str, Any]) -> Profile:
        """PATCH changes the given fields. PUT replaces the profile: other fields get the values of a new profile."""
        if not self.partial:
            validated_data = {
                "description": None,
                "tags": [],
                "notes": "",
                **Profile.objects.defaults(),
                "more": {},
                **validated_data,
            }
        return super().update(instance, validated_data)

    def create(self, validated_data: dict[str, Any]) -> Profile:
        return Profile.objects.create_from(**validated_data)


@extend_schema_serializer(
    examples=request_example({"name": "calm sea", "description": "Saved from the live steering."})
)
class ProfileNameSerializer(StrictMixin):
    """Name and description of the profile that `save-current` creates."""

    name = serializers.CharField(max_length=NAME_LENGTH)
    description = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=DESCRIPTION_LENGTH
    )


@extend_schema_serializer(examples=request_example({"name": "ocean, stronger"}))
class DuplicateSerializer(StrictMixin):
    name = serializers.CharField(
        max_length=NAME_LENGTH, required=False, help_text="By default a free name like the original's."
    )


@extend_schema_serializer(examples=answer_example(examples.IMPORTED))
class ImportedSerializer(ProfileSerializer):
    """A profile that an import created, replaced or found unchanged."""

    outcome = serializers.ChoiceField(choices=["created", "renamed", "replaced", "unchanged"], read_only=True)

    class Meta(ProfileSerializer.Meta):
        fields = [*ProfileSerializer.Meta.fields, "outcome"]


Notes = serializers.ListField(
    child=serializers.CharField(), help_text="The parts of the file that the profiles do not keep."
)


@extend_schema_serializer(examples=answer_example(examples.IMPORTED_FILE))
class ImportedFileSerializer(ImportedSerializer):
    """The answer to a file of one profile: that profile."""

    notes = Notes

    class Meta(ImportedSerializer.Meta):
        fields = [*ImportedSerializer.Meta.fields, "notes"]


@extend_schema_serializer(examples=answer_example(examples.IMPORTED_BUNDLE))
class ImportedBundleSerializer(serializers.Serializer[Any]):
    """The answer to a file of several profiles."""

    count = serializers.IntegerField()
    results = ImportedSerializer(many=True)
    notes = Notes


class VersionedProfile(DocumentSettings, serializers.ModelSerializer[Any]):
    steering = FeatureStrengths(source="strengths")
    tags = Tags()

    class Meta:
        model = Profile
        fields = [
            field for field in ProfileSerializer.Meta.fields if field not in {"labels", "created_at", "updated_at"}
        ]


@extend_schema_serializer(examples=answer_example(examples.VERSION))
class VersionSerializer(serializers.Serializer[Any]):
    """One version of a profile in a list: its author and reason, without its content, which may be large."""

    version = serializers.IntegerField(source="history_id", help_text="Names the version in calls.")
    number = serializers.IntegerField(
        help_text="Counts the versions of this profile that are kept: 1 is the oldest. The admin shows it."
    )
    type = serializers.SerializerMethodField()
    reason = serializers.CharField(source="history_change_reason", allow_null=True)
    at = serializers.DateTimeField(source="history_date")
    user = serializers.SerializerMethodField(help_text="The user; null if the user was deleted.")
    door = serializers.ChoiceField(choices=Door.choices)
    agent = serializers.CharField(help_text="The author as text: the user's name and the API key.")
    name = serializers.CharField()
    is_active = serializers.BooleanField()

    def get_type(self, version: Any) -> str:
        return VERSION_TYPES[version.history_type]

    def get_user(self, version: Any) -> str | None:
        return version.history_user.get_username() if version.history_user_id else None


@extend_schema_serializer(examples=answer_example(examples.WHOLE_VERSION))
class WholeVersionSerializer(VersionSerializer):
    """One version of a profile, with its content."""

    profile = VersionedProfile(source="*")


@extend_schema_serializer(examples=request_example({"version": 17}))
class RestoreSerializer(StrictMixin):
    version = serializers.IntegerField(min_value=0, max_value=2**63 - 1)
    on_conflict = serializers.ChoiceField(
        choices=["rename", "fail"],
        default="rename",
        help_text="Where another profile has the name of the version: restore under a free name, or answer 409.",
    )


class FieldDifference(serializers.Serializer[Any]):
    field = serializers.CharField()
    before = serializers.JSONField()
    after = serializers.JSONField()


@extend_schema_field(STRENGTH)
class Strength(serializers.JSONField):
    """A number, or an object with a mode."""


class FeatureDifference(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    before = Strength(allow_null=True)
    after = Strength(allow_null=True)
    sae = serializers.CharField(required=False, help_text="Of a feature of a further part: its SAE.")


@extend_schema_serializer(examples=answer_example(examples.DIFFERENCE))
class DiffSerializer(serializers.Serializer[Any]):
    """The differences of two profiles. A feature that one of them lacks is null on that side."""

    changed = FieldDifference(many=True)
    features = FeatureDifference(many=True)

"""The keys of a document beside its features, as fields of a row's JSON."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import SkipField

from steering.api.document_schema import SETTING_SCHEMAS, STRENGTHS
from steering.api.serializers import StrictMixin
from steering.document import Steering
from steering.document.steering import SETTINGS


class Setting(serializers.JSONField):
    """A key of a document, checked by the model. It is absent where it has its default; null sets the default."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "allow_null": True, **kwargs})

    def get_attribute(self, instance: Any) -> Any:
        more = Steering.join(instance.strengths, instance.more).split()[1] if instance.more else {}
        if self.field_name not in more:
            raise SkipField
        return more[self.field_name]


def _setting(name: str) -> Setting:
    own = type(f"{name.title()}Setting", (Setting,), {})  # the schema belongs to a class
    field: Setting = extend_schema_field(SETTING_SCHEMAS[name])(own)()
    return field


class DocumentSettings(serializers.Serializer[Any]):
    """Fields of a row with the columns `strengths` and `more`. Those given are in `more` of the validated data."""

    also = _setting("also")
    unit = _setting("unit")
    intensity = _setting("intensity")
    positions = _setting("positions")
    special_tokens = _setting("special_tokens")
    tools = _setting("tools")
    thinking = _setting("thinking")
    when = _setting("when")

    def to_internal_value(self, data: Any) -> Any:
        validated = super().to_internal_value(data)
        given = {name: validated.pop(name) for name in SETTINGS if name in validated}
        if given:
            before = self.instance.more if self.partial and self.instance else {}
            more = {**before, **given}
            validated["more"] = {name: value for name, value in more.items() if value is not None}
        return validated


@extend_schema_field(STRENGTHS)
class RequestFeatures(serializers.JSONField):
    """Features of a request's own document."""


class OwnSteeringSerializer(StrictMixin):
    """The steering of one request: a document, or a sum of profiles."""

    features = RequestFeatures(required=False)
    also = _setting("also")
    unit = _setting("unit")
    intensity = _setting("intensity")
    positions = _setting("positions")
    special_tokens = _setting("special_tokens")
    tools = _setting("tools")
    thinking = _setting("thinking")
    when = _setting("when")
    profiles = serializers.DictField(
        required=False, child=serializers.JSONField(), help_text="Profile name: weight, 0 to 2."
    )
    on_top = serializers.BooleanField(required=False, help_text="Add the sum to the live steering.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not {"features", "also", "profiles"} & {*attrs}:
            raise serializers.ValidationError({"features": ["This field is required."]})
        return attrs


def given(document: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a request's document that are not null."""
    return {name: value for name, value in document.items() if value is not None}

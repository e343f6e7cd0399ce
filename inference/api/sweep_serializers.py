"""The bodies and answers of /api/sweeps."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from inference.api import examples
from inference.api.reading_serializers import CHAT, TEXT, chat_prompt
from inference.sweeps.export import rows
from inference.sweeps.models import Sweep
from inference.sweeps.plan import MAX_SEED, SAMPLING, Plan, parse_values
from inference.sweeps.subject import Subject
from steering.api.schema import answer_example
from steering.api.serializers import StrictMixin

NUMBER = {"type": "number"}
RANGE = {
    "type": "object",
    "properties": {"from": NUMBER, "to": NUMBER, "count": {"type": "integer", "minimum": 2}},
    "required": ["from", "to", "count"],
    "additionalProperties": False,
}
AS_A_CHAT = "As of a chat; else the model's own default."
MESSAGES = {"type": "array", "items": {"type": "object", "additionalProperties": True}}


@extend_schema_field({"oneOf": [{"type": "array", "items": NUMBER}, RANGE], "example": [0, 0.5, 1, 1.5, 2]})
class Values(serializers.Field[Any, Any, Any, Any]):
    """Numbers, or a range of them with both ends."""

    def to_internal_value(self, given: Any) -> list[float]:
        return parse_values(given)


@extend_schema_field({"type": "array", "items": {"oneOf": [TEXT, CHAT]}, "example": ["Tell me something."]})
class SweepPrompts(serializers.Field[Any, Any, Any, Any]):
    """Texts and conversations."""

    def to_internal_value(self, given: Any) -> list[Any]:
        if not isinstance(given, list):
            raise serializers.ValidationError(f"Got {given!r:.100}, expected a list of texts or conversations.")
        return [self._one(at, one) for at, one in enumerate(given)]

    def _one(self, at: int, given: Any) -> Any:
        if isinstance(given, str):
            return given
        try:
            prompt: Any = chat_prompt(given)
        except ValueError as error:
            raise serializers.ValidationError(f"{at}: {error}") from error
        return prompt["messages"]


class SweepRequestSerializer(StrictMixin):
    """Exactly one of `profile` and `feature`."""

    profile = serializers.CharField(required=False, help_text="The profile whose intensity varies, from 0 to 2.")
    feature = serializers.IntegerField(
        required=False, min_value=0, max_value=2**31 - 1, help_text="The feature whose strength varies."
    )
    sae = serializers.CharField(
        default="", allow_blank=True, max_length=200, help_text="Of the feature; empty: the attached SAE."
    )
    values = Values(help_text="0, the unsteered reference, is added where it is missing.")
    prompts = SweepPrompts(help_text="A text is a user's message, or with `chat: false` a text that is continued.")
    chat = serializers.BooleanField(default=True, help_text="False: each answer continues its prompt.")
    seeds = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=MAX_SEED), default=[1], help_text="An answer for each."
    )
    words = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False),
        default=[],
        help_text="Their log-probability right after each prompt is read. A leading blank counts.",
    )
    max_tokens = serializers.IntegerField(default=64, min_value=1, help_text="The longest answer.")

    def get_fields(self) -> dict[str, Any]:
        sampling = {name: _setting(name, least, most) for name, (_, least, most) in SAMPLING.items()}
        return {**super().get_fields(), **sampling}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("profile", "feature") if name in attrs]
        if len(given) != 1:
            got = " and ".join(given) or "none of them"
            raise serializers.ValidationError({"profile": [f"Got {got}, expected one of profile and feature."]})
        if "profile" in attrs and attrs["sae"]:
            raise serializers.ValidationError({"sae": ["Got an SAE with a profile: expected it with a feature only."]})
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Sweep:
        """Raises Refused."""
        asked = dict(validated_data)
        profile, feature, sae = asked.pop("profile", None), asked.pop("feature", None), asked.pop("sae")
        sampling = {name: asked.pop(name) for name in SAMPLING if name in asked}
        subject = Subject.of_profile(profile) if profile is not None else Subject.of_feature(feature, sae)
        return Sweep.objects.start(subject, Plan(**asked, sampling=sampling))


def _setting(name: str, least: float, most: float) -> Any:
    if name == "top_k":
        return serializers.IntegerField(required=False, min_value=int(least), max_value=int(most), help_text=AS_A_CHAT)
    return serializers.FloatField(required=False, min_value=least, max_value=most, help_text=AS_A_CHAT)


@extend_schema_serializer(examples=answer_example(examples.SWEEP, "in progress"))
class SweepSerializer(serializers.ModelSerializer[Sweep]):
    """A sweep; `waits` is true while no worker has it."""

    profile = serializers.CharField(help_text="Empty where the strength of a feature varies.")
    sae = serializers.CharField(source="sae_id", help_text="Empty where the intensity of a profile varies.")
    model = serializers.CharField(source="model_name")
    values = serializers.ListField(child=serializers.FloatField())
    waits = serializers.BooleanField(help_text="True while no worker sweeps: none serves the model, or all are busy.")
    progress = serializers.FloatField(help_text="From 0 to 1.")
    total = serializers.IntegerField(help_text="Answers of the plan: values × prompts × seeds.")
    ended = serializers.IntegerField(help_text="Answers that are stored, those with an error too.")

    class Meta:
        model = Sweep
        fields: Any = [
            *("id", "profile", "feature", "sae", "model", "values", "status", "waits", "progress", "error"),
            *("total", "ended", "asked_by", "created_at"),
        ]
        read_only_fields = fields


class EffectsSerializer(serializers.Serializer[Any]):
    value = serializers.FloatField()
    cells = serializers.IntegerField(help_text="Answers so far.")
    failed = serializers.IntegerField(help_text="Those of them with an error.")
    perplexity = serializers.FloatField(
        allow_null=True, help_text="Of all answers' tokens together, by the unsteered model after the prompt."
    )
    repeats = serializers.FloatField(allow_null=True, help_text="The share of repeated 4-grams, mean over the answers.")
    words = serializers.ListField(
        child=serializers.FloatField(allow_null=True),
        help_text="The log-probability of each word right after the prompt, mean over the prompts.",
    )
    is_broken = serializers.BooleanField(
        allow_null=True,
        help_text=(
            "True for a perplexity above 1.6 times the unsteered one, or repeats above 0.08. "
            "Null at 0, and while the value or the unsteered reference has fewer than 3 answers without an error."
        ),
    )


@extend_schema_field({"oneOf": [TEXT, MESSAGES]})
class ShownPrompt(serializers.JSONField):
    """A text, or a conversation."""


class CellSerializer(serializers.Serializer[Any]):
    value = serializers.FloatField()
    steering = serializers.CharField(help_text="The fingerprint of the steering, or `none`.")
    prompt_number = serializers.IntegerField(help_text="From 1.")
    prompt = ShownPrompt()
    seed = serializers.IntegerField()
    answer = serializers.CharField()
    tokens = serializers.IntegerField()
    finish_reason = serializers.CharField(help_text="`stop`, `length`, or empty with an error.")
    perplexity = serializers.FloatField(allow_null=True)
    repeated_4grams = serializers.FloatField(allow_null=True)
    logprobs = serializers.DictField(child=serializers.FloatField(allow_null=True), help_text="Of the chosen words.")
    error = serializers.CharField(help_text="The reason why there is no answer; else empty.")


@extend_schema_serializer(examples=answer_example(examples.SWEEP_IN_FULL, "two values of a profile"))
class SweepDetailSerializer(SweepSerializer):
    """A sweep with its plan, the effects of each value, and the answers so far."""

    document = serializers.DictField(help_text="The profile's content when the sweep was made.")
    prompts = serializers.ListField(child=ShownPrompt())
    seeds = serializers.ListField(child=serializers.IntegerField())
    words = serializers.ListField(child=serializers.CharField())
    sampling = serializers.DictField(child=serializers.FloatField())
    effects = serializers.SerializerMethodField()
    cells = serializers.SerializerMethodField()

    class Meta(SweepSerializer.Meta):
        fields: Any = [
            *SweepSerializer.Meta.fields,
            *("model_version", "document", "prompts", "chat", "seeds", "words", "max_tokens", "sampling"),
            *("effects", "cells"),
        ]
        read_only_fields = fields

    @extend_schema_field(EffectsSerializer(many=True))
    def get_effects(self, sweep: Sweep) -> Any:
        return [one.as_json() for one in sweep.effects()]

    @extend_schema_field(CellSerializer(many=True))
    def get_cells(self, sweep: Sweep) -> Any:
        return list(rows(sweep))

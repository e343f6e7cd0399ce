"""The bodies of readings."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from pydantic import ValidationError
from rest_framework import serializers

from inference.api import examples
from inference.broker.messages import ChatPrompt, Prompt, TextPrompt, TokensPrompt
from inference.openai.fields.messages import Message
from inference.openai.validation import as_openai_error
from steering.api.document_serializers import OwnSteeringSerializer
from steering.api.schema import answer_example, request_example
from steering.api.serializers import StrictMixin
from steering.document.steering import MAX_INTENSITY

MOST_TOP_K, MOST_FEATURES, MOST_RANKED = 100, 1000, 1000
MESSAGE = {
    "type": "object",
    "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
    "required": ["role", "content"],
}
CHAT = {"type": "array", "items": MESSAGE}
TEXT = {"type": "string"}
TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}}


def one_or_several(of: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"oneOf": [of, {"type": "array", "items": of}], "example": example}


class _Prompts(serializers.Field[Any, Any, Any, Any]):
    """Prompts, at most INFERENCE_MAX_READING_TEXTS."""

    def one(self, given: Any) -> Prompt:
        """The prompt of one value. Raises ValueError."""
        raise NotImplementedError

    def is_one(self, given: Any) -> bool:
        """True where `given` is one prompt that need not be in a list."""
        raise NotImplementedError

    def to_internal_value(self, given: Any) -> list[Prompt]:
        several = [given] if self.is_one(given) else given
        if not isinstance(several, list) or not several:
            raise serializers.ValidationError(f"Got {_shown(given)}, expected one or a list of them.")
        if len(several) > (most := settings.INFERENCE_MAX_READING_TEXTS):
            raise serializers.ValidationError(f"Got {len(several):,} texts, expected at most {most:,}.")
        return [self._numbered(index, one) for index, one in enumerate(several)]

    def _numbered(self, index: int, given: Any) -> Prompt:
        try:
            return self.one(given)
        except ValueError as error:
            raise serializers.ValidationError(f"{index}: {error}") from error


@extend_schema_field(one_or_several(TEXT, ["The whale swims in the sea."]))
class Texts(_Prompts):
    def is_one(self, given: Any) -> bool:
        return isinstance(given, str)

    def one(self, given: Any) -> Prompt:
        return text_prompt(given)


@extend_schema_field(one_or_several(TOKENS, [1, 2, 3]))
class TokenIds(_Prompts):
    def is_one(self, given: Any) -> bool:
        return isinstance(given, list) and bool(given) and not isinstance(given[0], list)

    def one(self, given: Any) -> Prompt:
        is_ids = isinstance(given, list) and given
        if not is_ids or any(type(one) is not int or not 0 <= one < 2**31 for one in given):
            raise ValueError(f"got {_shown(given)}, expected token ids")
        return TokensPrompt(ids=given)


@extend_schema_field(one_or_several(CHAT, [{"role": "user", "content": "Tell me a story."}]))
class Chats(_Prompts):
    def is_one(self, given: Any) -> bool:
        return isinstance(given, list) and bool(given) and isinstance(given[0], dict)

    def one(self, given: Any) -> Prompt:
        return chat_prompt(given)


@extend_schema_field({"type": "array", "items": {"oneOf": [TEXT, CHAT]}, "example": ["The whale swims."]})
class TextsOrChats(_Prompts):
    """Texts and conversations, mixed or not."""

    def is_one(self, given: Any) -> bool:
        return False

    def one(self, given: Any) -> Prompt:
        return text_prompt(given) if isinstance(given, str) else chat_prompt(given)


def text_prompt(given: Any) -> Prompt:
    """A text for a worker. Raises ValueError."""
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"got {_shown(given)}, expected a text")
    return TextPrompt(text=given)


def chat_prompt(given: Any) -> Prompt:
    """A conversation for a worker, with the messages of a chat request. Raises ValueError."""
    if not isinstance(given, list) or not given:
        raise ValueError(f"got {_shown(given)}, expected a list of messages")
    messages = []
    for index, one in enumerate(given):
        try:
            messages.append(Message.model_validate(one).for_template())
        except ValidationError as error:
            raise ValueError(f"{index}: {as_openai_error(error)}") from error
    return ChatPrompt(messages=messages)


def _shown(given: Any) -> str:
    return f"{given!r:.100}"


class _Reading(StrictMixin):
    sae = serializers.CharField(default="", max_length=200, allow_blank=True, help_text="Empty: the attached SAE.")
    skip_special = serializers.BooleanField(default=True, help_text="Leave special tokens out.")


class ActivationsRequestSerializer(_Reading):
    """Exactly one of `texts`, `messages` and `tokens`; at most one of `steering` and `profile`."""

    texts = Texts(required=False, help_text="A text or several.")
    messages = Chats(required=False, help_text="A conversation or several, through the model's chat template.")
    tokens = TokenIds(required=False, help_text="Token ids, once or several times.")
    top_k = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_TOP_K,
        help_text="How many features of each token; by default 5, or all of `features`.",
    )
    features = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=2**31 - 1),
        required=False,
        min_length=1,
        max_length=MOST_FEATURES,
        help_text="Return only these features.",
    )
    positions = serializers.ChoiceField(["all", "answer"], default="all", help_text="Of conversations.")
    steering = OwnSteeringSerializer(required=False, help_text="Read under this; its features are of the SAE.")
    profile = serializers.CharField(required=False, help_text="Read under this profile, without activating it.")
    intensity = serializers.FloatField(
        default=1.0, min_value=0, max_value=MAX_INTENSITY, help_text="Scales `steering` or `profile`."
    )
    stage = serializers.ChoiceField(["before", "after"], default="after", help_text="The steering at the hook point.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("texts", "messages", "tokens") if name in attrs]
        if len(given) != 1:
            got = " and ".join(given) or "none of them"
            raise serializers.ValidationError({"texts": [f"Got {got}, expected one of texts, messages and tokens."]})
        if "steering" in attrs and "profile" in attrs:
            raise serializers.ValidationError({"steering": ["Got steering and profile, expected one of them."]})
        if attrs["positions"] == "answer" and given != ["messages"]:
            message = f"Got `answer` with {given[0]}: only messages have an answer."
            raise serializers.ValidationError({"positions": [message]})
        if len(set(attrs.get("features", []))) < len(attrs.get("features", [])):
            raise serializers.ValidationError({"features": ["A feature is given twice."]})
        return attrs


@extend_schema_serializer(examples=request_example(examples.SENTENCES, "the sea"))
class ContrastRequestSerializer(_Reading):
    positive = TextsOrChats(help_text="Texts, or conversations, of the kind that is wanted.")
    negative = TextsOrChats(help_text="Texts, or conversations, of another kind.")
    pool = serializers.ChoiceField(["mean", "max"], default="mean", help_text="The score of a text over its tokens.")
    positions = serializers.ChoiceField(["answer", "all"], default="answer", help_text="Of conversations.")
    max_density = serializers.FloatField(
        default=1.0, min_value=0.0, max_value=1.0, help_text="Leave out features that fire on a larger share of tokens."
    )
    top = serializers.IntegerField(default=20, min_value=1, max_value=MOST_RANKED)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        total, most = len(attrs["positive"]) + len(attrs["negative"]), settings.INFERENCE_MAX_READING_TEXTS
        if total > most:
            raise serializers.ValidationError({"positive": [f"Got {total:,} texts in all, expected at most {most:,}."]})
        return attrs


# --- the answers ---


class TokenFeatureSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    activation = serializers.FloatField()
    label = serializers.CharField(help_text="Empty where the feature has none.")  # type: ignore[assignment]


class ReadTokenSerializer(serializers.Serializer[Any]):
    position = serializers.IntegerField()
    id = serializers.IntegerField()
    text = serializers.CharField(help_text="The characters that the token completes; together they are the text.")
    special = serializers.BooleanField()
    features = TokenFeatureSerializer(many=True, help_text="The largest activation first.")


class TextFeatureSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    label = serializers.CharField()  # type: ignore[assignment]
    maximum = serializers.FloatField()
    position = serializers.IntegerField(help_text="Of the token with the maximum.")
    sum = serializers.FloatField()


class ReadTextSerializer(serializers.Serializer[Any]):
    tokens = ReadTokenSerializer(many=True)
    features = TextFeatureSerializer(many=True, help_text="The largest maximum first, or in the order of the request.")


class _Read(serializers.Serializer[Any]):
    model = serializers.CharField()
    sae = serializers.CharField()
    hook_name = serializers.CharField()


@extend_schema_serializer(examples=answer_example(examples.ACTIVATIONS, "one token of a sentence"))
class ActivationsSerializer(_Read):
    steering = serializers.CharField(help_text="The fingerprint of the steering, or `none`.")
    stage = serializers.ChoiceField(["before", "after"], allow_null=True)
    texts = ReadTextSerializer(many=True)


class FeatureContrastSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    label = serializers.CharField()  # type: ignore[assignment]
    difference = serializers.FloatField(help_text="Mean score of the positive texts minus that of the negative ones.")
    auc = serializers.FloatField(help_text="The probability that a positive text has a higher score; a tie is half.")
    positive_share = serializers.FloatField(help_text="The share of positive texts in which the feature fires.")
    negative_share = serializers.FloatField()
    density = serializers.FloatField(help_text="The share of all tokens on which the feature fires.")
    maximum = serializers.FloatField(
        allow_null=True,
        help_text="The largest activation that was measured or imported; half of it is a strength to begin with.",
    )


@extend_schema_serializer(examples=answer_example(examples.CONTRAST, "the sea"))
class ContrastSerializer(_Read):
    pool = serializers.CharField()
    positive = serializers.IntegerField(help_text="The number of texts.")
    negative = serializers.IntegerField()
    residual_auc = serializers.FloatField(
        allow_null=True, help_text="The AUC of the difference of means of the residual stream (leave-one-out)."
    )
    features = FeatureContrastSerializer(many=True)
    opposed = FeatureContrastSerializer(many=True, help_text="The features that fire more in the negative texts.")

"""Options of requests that are objects."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from steering.api.document_schema import (
    ALSO,
    COMPOSITION,
    FORMS,
    INTENSITY,
    POSITIONS,
    SPECIAL_TOKENS,
    STRENGTHS,
    THINKING,
    TOOLS,
    UNIT,
    WHEN,
)

STEERINGS: list[Any] = [*FORMS.values(), COMPOSITION]

FeatureIndices = Annotated[
    list[Annotated[StrictInt, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1000, fail_fast=True)
]


# The arguments of transformers' `apply_chat_template` that are no variables of a template.
RESERVED = {
    *("conversation", "conversations", "messages", "tools", "documents", "chat_template", "add_generation_prompt"),
    *("continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length"),
    *("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "self"),
}


def _of_the_template(value: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(RESERVED & {*value}):
        raise ValueError(f"got {taken[0]!r}, expected variables of the model's chat template alone")
    return value


TemplateVariables = Annotated[dict[str, Any], AfterValidator(_of_the_template)]
"""Variables of the model's chat template, as vLLM takes them."""


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class OwnSteering(BaseModel):
    """A document for one request only, or a sum of profiles; no features mean explicitly unsteered.

    The values are checked where the SAE is known: see `steering.document.Composition`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": STEERINGS})

    also: Annotated[Any, WithJsonSchema(ALSO)] = None
    unit: Annotated[Any, WithJsonSchema(UNIT)] = None
    intensity: Annotated[Any, WithJsonSchema(INTENSITY)] = None
    positions: Annotated[Any, WithJsonSchema(POSITIONS)] = None
    special_tokens: Annotated[Any, WithJsonSchema(SPECIAL_TOKENS)] = None
    tools: Annotated[Any, WithJsonSchema(TOOLS)] = None
    thinking: Annotated[Any, WithJsonSchema(THINKING)] = None
    when: Annotated[Any, WithJsonSchema(WHEN)] = None
    profiles: dict[str, Any] | None = None
    """Weights of profiles, 0 to 2, by their names."""
    on_top: bool | None = None
    """True where the sum is added to the live steering."""
    features: Annotated[Any, WithJsonSchema(STRENGTHS), Field(validate_default=True)] = None

    @field_validator("features")
    @classmethod
    def _something_to_steer_by(cls, features: Any, info: ValidationInfo) -> Any:
        if features is None and not (info.data.get("also") or info.data.get("profiles")):
            raise ValueError("this field is missing: expected features, profiles or also")
        return features

    def given(self) -> dict[str, Any]:
        """The keys of the document that are not null."""
        return self.model_dump(exclude_none=True)


class AnswerActivations(BaseModel):
    """The features that fire in the answer, read when it has ended; see `inference.openai.details.activations`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    sae: str = Field("", max_length=200)
    """The id of an SAE; empty is the attached one."""
    top_k: StrictInt | None = Field(None, ge=1, le=100)
    features: FeatureIndices | None = None
    positions: Literal["answer", "prompt", "all"] = "answer"
    skip_special: bool = True
    stage: Literal["before", "after"] = "after"

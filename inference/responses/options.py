"""Options of requests that are objects: the form of the text, and the reasoning."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from inference.openai.fields.response_format import JSONSchema

Include = Literal["message.output_text.logprobs", "reasoning.encrypted_content"]
"""The reasoning is never encrypted: its items have it in full, for a client that sends them again."""
LOGPROBS: Include = "message.output_text.logprobs"


class PlainFormat(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text", "json_object"]

    @property
    def schema_text(self) -> str | None:
        """The schema as JSON, None for any text."""
        return json.dumps({"type": "object"}) if self.type == "json_object" else None


class SchemaFormat(JSONSchema):
    """A JSON schema, flat as this API has it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["json_schema"]
    body: dict[str, Any] = Field(alias="schema")

    @property
    def schema_text(self) -> str:
        return json.dumps(self.body)


class TextOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    verbosity: Literal["medium"] | None = None

    def as_json(self) -> dict[str, Any]:
        """The options as a response shows them."""
        form = self.format or PlainFormat(type="text")
        return {"format": form.model_dump(by_alias=True, exclude_none=True)}


class ObfuscationOptions(BaseModel):
    """`stream_options`: nothing here hides the length of texts."""

    model_config = ConfigDict(strict=True, extra="forbid")

    include_obfuscation: Literal[False] | None = None


class ReasoningOptions(BaseModel):
    """`effort` goes to the chat template; nothing here makes summaries, so that `auto` makes none."""

    model_config = ConfigDict(strict=True, extra="forbid")

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto"] | None = None
    generate_summary: Literal["auto"] | None = None
    context: Literal["auto", "all_turns"] | None = None
    mode: Literal["standard"] | None = None

    @property
    def template(self) -> dict[str, Any]:
        """Variables of the chat template, by the names that templates have for them."""
        if self.effort is None:
            return {}
        if self.effort == "none":
            return {"enable_thinking": False}
        return {"enable_thinking": True, "reasoning_effort": self.effort}

"""The form that an answer must have: `response_format` of a chat.

Source of the shapes: https://platform.openai.com/docs/api-reference/chat/create.
"""

import json
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class JSONSchema(BaseModel):
    """The JSON schema that the answer must follow, also where `strict` is not set."""

    model_config = ConfigDict(strict=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    strict: bool | None = None
    body: dict[str, Any] = Field(alias="schema", default_factory=dict)


class ResponseFormat(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None
    body: None = Field(None, alias="schema")  # llama.cpp has the schema here

    @field_validator("body", mode="before")
    @classmethod
    def _elsewhere(cls, value: object) -> None:
        if value is not None:
            raise ValueError("expected the schema in json_schema, with the type json_schema")

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if (self.json_schema is None) == (self.type == "json_schema"):
            raise ValueError("json_schema goes with the type json_schema, and with no other")
        return self

    @property
    def schema_text(self) -> str | None:
        """The schema as JSON, None for any text."""
        if self.type == "text":
            return None
        return json.dumps(self.json_schema.body if self.json_schema else {"type": "object"})

"""The messages of a chat. Shapes from https://platform.openai.com/docs/api-reference/chat/create."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from inference.openai.fields.depth import MAX_DEPTH, depth_of


class TextPart(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class RefusalPart(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        return self.refusal


Part = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class FunctionCall(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    arguments: str

    @field_validator("arguments")
    @classmethod
    def _not_too_deep(cls, value: str) -> str:
        try:
            is_too_deep = depth_of(json.loads(value)) > MAX_DEPTH
        except RecursionError:
            is_too_deep = True
        except ValueError:
            is_too_deep = False  # a model wrote them: they need not be JSON
        if is_too_deep:
            raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels")
        return value


class ToolCall(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(BaseModel):
    """One message. Earlier calls of tools, their results and earlier reasoning go to the model's chat template."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = Field(None, union_mode="left_to_right")
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    audio: None = None
    function_call: None = None

    @field_validator("audio", "function_call", mode="before")
    @classmethod
    def _only_null(cls, value: object) -> None:
        if value is not None:
            raise ValueError("is not supported by this server: leave it out")

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"content: a message of the role {self.role} needs some")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls: a message of the role {self.role} has none")
        if self.reasoning_content and self.role != "assistant":
            raise ValueError(f"reasoning_content: a message of the role {self.role} has none")
        return self

    def for_template(self) -> dict[str, Any]:
        """The message as a chat template gets it: `content` as one text, and the other fields that are set."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or [])
        more: dict[str, Any] = {
            "name": self.name,
            "tool_call_id": self.tool_call_id,
            "reasoning_content": self.reasoning_content,
        }
        if self.tool_calls:
            more["tool_calls"] = [
                {"id": call.id, "type": call.type, "function": call.function.model_dump()} for call in self.tool_calls
            ]
        return {"role": self.role, "content": content} | {key: value for key, value in more.items() if value}

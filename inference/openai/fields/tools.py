"""The tools of a chat: the functions that the model may call, and the choice among them.

Source of the shapes: https://platform.openai.com/docs/api-reference/chat/create.
"""

import json
from functools import lru_cache, partial
from typing import Annotated, Any, Literal

from jsonschema import Draft202012Validator, SchemaError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator

from inference.openai.fields.depth import MAX_DEPTH, depth_of
from inference.openai.fields.tool_choice import NAMED, AllowedTools, choice_schema, read_choice

MAX_TOOLS = 128
CACHED_CHARACTERS, SHOWN = 20_000, 200


def schema_fault(text: str) -> str:
    """The fault of a JSON schema (JSON text) of parameters; empty where it has none.

    Clients send the same tools with every request, and a check takes milliseconds: those of usual size are kept.
    """
    return _known_fault(text) if len(text) <= CACHED_CHARACTERS else _fault(text)


def _fault(text: str) -> str:
    schema = json.loads(text)
    if schema.get("type", "object") != "object":
        return f"got the type {schema['type']!r:.100}, expected object"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"no JSON schema at {error.json_path}: {error.message}"[:SHOWN]
    return ""


_known_fault = lru_cache(maxsize=512)(_fault)


class Function(BaseModel):
    """A function that the model may call; `strict` holds its arguments to `parameters`."""

    model_config = ConfigDict(strict=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("parameters")
    @classmethod
    def _a_schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if depth_of(value) > MAX_DEPTH:
            raise ValueError(f"nested too deeply, expected at most {MAX_DEPTH} levels")
        if value and (fault := schema_fault(json.dumps(value))):
            raise ValueError(fault)
        return value


class Tool(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["function"]
    function: Function

    def for_worker(self) -> dict[str, Any]:
        """The tool as a chat template and the grammar get it: with parameters, and without what is null."""
        function = self.function.model_dump(exclude_none=True)
        function.setdefault("parameters", {"type": "object", "properties": {}})
        return {"type": "function", "function": function}


Choice = Annotated[
    str | AllowedTools | None,
    BeforeValidator(partial(read_choice, flat=False)),
    WithJsonSchema(choice_schema(flat=False)),
]


class ToolFields(BaseModel):
    """The fields of a request that are about tools."""

    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None

    @field_validator("tools")
    @classmethod
    def _named_once(cls, value: list[Tool] | None) -> list[Tool] | None:
        names = [tool.function.name for tool in value or []]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the function {twice!r} is given twice")
        return value

    @field_validator("tool_choice")
    @classmethod
    def _of_the_tools(cls, value: str | AllowedTools | None, info: ValidationInfo) -> str | AllowedTools | None:
        if "tools" not in info.data or value is None or value in ("none", "auto"):
            return value
        names = [tool.function.name for tool in info.data["tools"] or []]
        if not names:
            raise ValueError("functions are asked for and tools is empty: expected at least one tool")
        asked = value.names if isinstance(value, AllowedTools) else [value.removeprefix(NAMED)]
        unknown = next((name for name in asked if name not in names), None)
        if unknown is not None and value != "required":
            raise ValueError(f"got the function {unknown!r:.100}, expected one of tools: {', '.join(names)}"[:SHOWN])
        return value

    @property
    def tool_message(self) -> dict[str, Any]:
        """The fields of the message to a worker that are about tools: of them the allowed ones."""
        choice, tools = self.tool_choice, self.tools or []
        if isinstance(choice, AllowedTools):
            names, choice = choice.names, choice.mode
            tools = [tool for tool in tools if tool.function.name in names]
        return {
            "tools": [tool.for_worker() for tool in tools],
            "tool_choice": choice or "auto",
            "parallel_tool_calls": self.parallel_tool_calls is not False,
        }

"""The tools of a request, in the flat form of this API; the rules are those of a chat's tools."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from inference.openai.fields.tool_choice import AllowedTools, choice_schema, flat_choice, read_choice
from inference.openai.fields.tools import MAX_TOOLS, Function, Tool, ToolFields


class FunctionTool(Function):
    """A function. Tools that OpenAI runs itself are not here."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["function"]
    defer_loading: Literal[False] | None = None
    allowed_callers: None = None
    output_schema: None = None

    @property
    def function(self) -> Function:
        return self

    def for_worker(self) -> dict[str, Any]:
        """The tool as a chat has it: see `inference.openai.fields.tools.Tool`."""
        function = Function.model_construct(**self.model_dump(include={*Function.model_fields}))
        return Tool(type="function", function=function).for_worker()

    def as_json(self) -> dict[str, Any]:
        """The tool as a response shows it."""
        return self.model_dump(include={"type", *Function.model_fields})


def _check_type(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") != "function":
        got = f"tools of the type {value.get('type')!r:.100} are not supported by this server"
        raise ValueError(f"{got}: expected function")
    return value


FlatTool = Annotated[FunctionTool, BeforeValidator(_check_type)]


FlatChoice = Annotated[
    str | AllowedTools | None,
    BeforeValidator(partial(read_choice, flat=True)),
    WithJsonSchema(choice_schema(flat=True)),
]


class FlatToolFields(ToolFields):
    """The fields of a request that are about tools."""

    tools: Annotated[list[FlatTool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None  # type: ignore[assignment]
    tool_choice: FlatChoice = None

    def tools_as_json(self) -> dict[str, Any]:
        """The fields as a response shows them."""
        return {
            "tools": [tool.as_json() for tool in self.tools or []],
            "tool_choice": flat_choice(self.tool_choice),
            "parallel_tool_calls": self.parallel_tool_calls is not False,
        }

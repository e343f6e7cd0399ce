"""The choice among the tools of a request, in the form of chats and in the flat form of the Responses API.

Source of the shapes: https://platform.openai.com/docs/api-reference/chat/create.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHOICES = ("none", "auto", "required")
MODES = ("auto", "required")
NAMED = "function:"
"""What stands before the name of a function in the `tool_choice` of the message to a worker."""


@dataclass(frozen=True)
class AllowedTools:
    """The functions among the tools that the model may call, or has to call where `mode` is `required`."""

    mode: str
    names: tuple[str, ...]


def read_choice(value: Any, *, flat: bool) -> str | AllowedTools | None:
    """`none`, `auto`, `required`, `function:NAME` or allowed tools. Raises ValueError."""
    if value is None or value in CHOICES:
        return value  # type: ignore[no-any-return]
    if name := function_name(value, flat=flat):
        return NAMED + name
    if isinstance(value, dict) and value.get("type") == "allowed_tools":
        return _allowed(value if flat else value.get("allowed_tools"), flat=flat)
    allowed = '{"type": "allowed_tools", …}'
    raise ValueError(f"expected one of {', '.join(CHOICES)}, or {_function_text(flat)}, or {allowed}")


def function_name(value: Any, *, flat: bool) -> str | None:
    """The name in `{"type": "function", …}`; None where `value` is anything else."""
    if not isinstance(value, dict) or value.get("type") != "function":
        return None
    function = value if flat else value.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _allowed(value: Any, *, flat: bool) -> AllowedTools:
    given: Mapping[str, Any] = value if isinstance(value, dict) else {}
    if given.get("mode") not in MODES:
        raise ValueError(f"allowed_tools needs a mode: expected one of {', '.join(MODES)}")
    tools = given.get("tools")
    names = [function_name(tool, flat=flat) for tool in tools] if isinstance(tools, list) else []
    found = tuple(name for name in names if name is not None)
    if not found or len(found) < len(names):
        raise ValueError(f"allowed_tools needs tools: expected at least one, each as {_function_text(flat)}")
    return AllowedTools(given["mode"], found)


def flat_choice(choice: str | AllowedTools | None) -> Any:
    """The choice as a response of the Responses API shows it."""
    if isinstance(choice, AllowedTools):
        tools = [{"type": "function", "name": name} for name in choice.names]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}
    if choice and choice.startswith(NAMED):
        return {"type": "function", "name": choice.removeprefix(NAMED)}
    return choice or "auto"


def _function_text(flat: bool) -> str:
    return '{"type": "function", "name": …}' if flat else '{"type": "function", "function": {"name": …}}'


def choice_schema(*, flat: bool) -> dict[str, Any]:
    """The JSON schema of `tool_choice`."""
    name = {"name": {"type": "string"}}
    own = name if flat else {"function": _object(name)}
    function = _object({"type": {"const": "function"}, **own})
    allowed = {"mode": {"enum": [*MODES]}, "tools": {"type": "array", "items": function, "minItems": 1}}
    inner = allowed if flat else {"allowed_tools": _object(allowed)}
    return {"anyOf": [{"enum": [*CHOICES, None]}, function, _object({"type": {"const": "allowed_tools"}, **inner})]}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object with all these properties."""
    return {"type": "object", "properties": {**properties}, "required": [*properties]}

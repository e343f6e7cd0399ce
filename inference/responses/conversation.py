"""From the items of a conversation to the messages that a chat template gets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

OPENING = ("system", "developer")


class UnknownCall(ValueError):
    """The result of a call that is not in the conversation."""


def messages_of(items: Sequence[Mapping[str, Any]], instructions: str | None = None) -> list[dict[str, Any]]:
    """The items, as `items.listed` makes them, as messages, after a message of the system with the `instructions`.

    The reasoning, the text and the calls of one answer become one message. Raises UnknownCall.
    """
    messages: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for item in items:
        match item["type"]:
            case "message":
                _add_message(messages, item["role"], _text(item["content"]))
            case "reasoning":
                messages.append({"role": "assistant", "content": "", "reasoning_content": _reasoning(item)})
            case "function_call":
                names[item["call_id"]] = item["name"]
                _add_call(messages, item)
            case "function_call_output":
                messages.append(_result(item, names))
    return _instructed(messages, instructions) if instructions else messages


def _add_message(messages: list[dict[str, Any]], role: str, text: str) -> None:
    """Append a message; the text of an answer follows its reasoning in one message."""
    last = messages[-1] if messages else {}
    if role == "assistant" and "reasoning_content" in last and not last["content"] and "tool_calls" not in last:
        last["content"] = text
    else:
        messages.append({"role": role, "content": text})


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any]) -> None:
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    messages[-1].setdefault("tool_calls", []).append(call)


def _result(item: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    call_id, output = item["call_id"], item["output"]
    if call_id not in names:
        raise UnknownCall(
            f"the function_call_output of {call_id!r:.100} has no function_call of that call_id before it"
        )
    content = output if isinstance(output, str) else _text(output)
    return {"role": "tool", "tool_call_id": call_id, "name": names[call_id], "content": content}


def _instructed(messages: list[dict[str, Any]], instructions: str) -> list[dict[str, Any]]:
    """The messages after the instructions; a first message of the system joins them: many templates want just one."""
    first = messages[0] if messages else {"role": ""}
    if first["role"] not in OPENING:
        return [{"role": "system", "content": instructions}, *messages]
    return [{"role": "system", "content": f"{instructions}\n\n{first['content']}"}, *messages[1:]]


def _text(parts: Iterable[Mapping[str, Any]]) -> str:
    return "".join(part.get("text") or part.get("refusal", "") for part in parts)


def _reasoning(item: Mapping[str, Any]) -> str:
    """The text of the reasoning, or of its summary where the text is missing."""
    return _text(item.get("content") or item["summary"])

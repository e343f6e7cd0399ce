"""The tools of a chat in its prompt: by the model's own chat template, or as text where the template knows no tools.

The text is a system prompt with the schemas of the functions, which asks for calls in Hermes' form: JSON between
`<tool_call>` tags is the form that most models have seen, and the same grammar can hold any model to it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inference.engine.forms.choice import AnswerForms
from inference.engine.forms.templates import NO_FORM
from inference.interface import InvalidTools

Messages = list[dict[str, Any]]
INSTRUCTIONS = (
    "# Tools\n\nYou may call these functions:\n<tools>\n{schemas}\n</tools>\n\n"
    "For each call, write a JSON object with the function's name and arguments within these tags:\n"
    '<tool_call>\n{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
)


def variants(
    forms: AnswerForms, messages: Messages, tools: Sequence[Mapping[str, Any]], form: str
) -> Iterator[tuple[Messages, dict[str, Any]]]:
    """The messages, and options of the chat template, as the model `forms` gets them; `form` is that of its row.

    The first variant that the template takes is the right one. Raises InvalidTools.
    """
    if tools and forms.takes_tools(form):
        yield messages, {"tools": [_without_strict(tool) for tool in tools]}
    elif tools and form == NO_FORM:
        raise InvalidTools("this model's chat template takes no tools, and its row has the answer_form none")
    elif tools:
        instructions = INSTRUCTIONS.format(schemas="\n".join(_text(_without_strict(tool)) for tool in tools))
        plain = [*as_text(messages)]
        yield with_system(plain, instructions), {}
        yield with_first_user(plain, instructions), {}  # Gemma's template refuses a system prompt
    elif forms.knows_calls:
        yield messages, {}
    else:
        yield [*as_text(messages)], {}


def as_text(messages: Messages) -> Iterator[dict[str, Any]]:
    """The messages with calls and results of tools as text. Results that follow each other are one message."""
    results: list[str] = []
    has_calls = any(message.get("tool_calls") for message in messages)
    for message in messages:
        if message["role"] == "tool" and has_calls:
            results.append(f"<tool_response>\n{message['content']}\n</tool_response>")
            continue
        if results:
            yield {"role": "user", "content": "\n".join(results)}
            results = []
        calls = [_call_text(call["function"]) for call in message.get("tool_calls", [])]
        content = "\n".join([*([message["content"]] if message["content"] else []), *calls]) if calls else None
        own = {name: value for name, value in message.items() if name != "tool_calls"}
        yield own if content is None else {**own, "content": content}
    if results:
        yield {"role": "user", "content": "\n".join(results)}


def with_system(messages: Messages, text: str) -> Messages:
    """The messages with `text` at the end of their system prompt."""
    if messages[0]["role"] in {"system", "developer"}:
        first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}".lstrip()}
        return [first, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def with_first_user(messages: Messages, text: str) -> Messages:
    """The messages with `text` before the first one of a user."""
    at = next((at for at, message in enumerate(messages) if message["role"] == "user"), 0)
    told = {**messages[at], "content": f"{text}\n\n{messages[at]['content']}"}
    return [*messages[:at], told, *messages[at + 1 :]]


def _call_text(function: Mapping[str, Any]) -> str:
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except (ValueError, RecursionError):
        arguments = function["arguments"]  # a model wrote them: they need not be JSON
    return f"<tool_call>\n{_text({'name': function['name'], 'arguments': arguments})}\n</tool_call>"


def _without_strict(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool without what is for this server alone."""
    return {**tool, "function": {name: value for name, value in tool["function"].items() if name != "strict"}}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

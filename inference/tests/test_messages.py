"""What a conversation may hold, and how it reaches the model's chat template."""

from typing import Any

import pytest

from inference.openai.errors import OpenAIError
from inference.openai.requests import ChatRequest
from inference.tests.tiny import tiny_tokenizer
from inference.worker.requests.prompts import prompt_ids

CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"at": "noon"}'}}
SHOWN = (
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}!{{ c.function.name }}@{{ c.function.arguments.at }}{% endfor %}"
    "{% if m.tool_call_id %}?{{ m.tool_call_id }}{% endif %}]{% endfor %}"
)


def shown(messages: list[dict[str, Any]], template: str = SHOWN) -> str:
    """The text that the model is given."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    request = ChatRequest.parse(_body(messages))
    [prompt] = request.prompts
    return str(tokenizer.decode(prompt_ids(tokenizer, prompt, len(tokenizer))))


def _body(messages: list[dict[str, Any]]) -> bytes:
    import json

    return json.dumps({"model": "m", "messages": messages}).encode()


def test_every_role_and_calls_of_tools_reach_the_template() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "eve"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "high", "tool_call_id": "c1"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "audio": None},
    ]
    assert shown(messages) == "[system:s][user:ab][assistant:!tide@noon][tool:high?c1][assistant:no]"


def test_a_developer_is_a_system_where_the_template_does_not_know_one() -> None:
    message = [{"role": "developer", "content": "d"}]
    assert shown(message) == "[system:d]"
    assert shown(message, SHOWN + "{# developer #}") == "[developer:d]"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "user"}, "a message of the role user needs some"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "has none"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "messages.0.content"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "audio: is not supported"),
        ({"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": ""}}, "not supported"),
        ({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}, "messages.0.tool_calls.0"),
    ],
)
def test_what_would_be_lost_is_refused(message: dict[str, Any], said: str) -> None:
    with pytest.raises(OpenAIError, match=said) as refused:
        ChatRequest.parse(_body([message]))
    assert refused.value.status == 400
    assert (refused.value.param or "").startswith("messages.0")

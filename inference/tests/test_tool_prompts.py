"""Tools in the prompt: by the chat template where it knows tools, else as text."""

import json
from typing import Any

import pytest

from inference.engine.forms.choice import AnswerForms
from inference.interface import InvalidTools
from inference.tests.scripted import CHATML, byte_level
from inference.tests.test_answer_parts import TIDE
from inference.worker.requests.prompts import UnusableTemplate, chat_text
from inference.worker.requests.tool_prompts import variants

CALL = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": '{"at": "né"}'}}
PAST: list[dict[str, Any]] = [
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "I look.", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "noon", "tool_call_id": "c1"},
    {"role": "tool", "content": "six", "tool_call_id": "c1"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "now", "tool_call_id": "c1"},
]
CALLED = '<tool_call>\n{"name": "tide", "arguments": {"at": "né"}}\n</tool_call>'
STRICT = {**TIDE, "function": {**TIDE["function"], "strict": True}}  # type: ignore[dict-item]
KNOWS = "{% for t in tools %}{{ t | tojson }}{% endfor %}{% for m in messages %}{{ m }}{% endfor %}<tool_call>"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML


def rendered(template: str, messages: list[dict[str, Any]], tools: Any = (STRICT,), form: str = "") -> str:
    """The first variant that the template takes."""
    tokenizer = byte_level()
    tokenizer.chat_template = template
    refused: list[UnusableTemplate] = []
    for given, options in variants(AnswerForms(tokenizer), messages, tools, form):
        try:
            return chat_text(tokenizer, given, options)
        except UnusableTemplate as error:
            refused.append(error)
    raise refused[0]


def test_a_template_that_knows_tools_gets_them_and_the_messages_as_they_are() -> None:
    text = rendered(KNOWS, PAST[:1])
    assert json.loads(text[: text.index("}{'role'") + 1]) == TIDE
    assert "strict" not in text


def test_a_template_that_knows_no_tools_gets_a_system_prompt_with_the_schemas() -> None:
    text = rendered(CHATML, [{"role": "system", "content": "Be kind."}, *PAST])
    system, *others = text.split("<|im_start|>")[1:]
    assert system.startswith("system\nBe kind.\n\n# Tools\n")
    assert json.dumps(TIDE, ensure_ascii=False) in system
    assert "<tool_call>" in system
    assert others[:4] == [
        "user\nWhen?<|im_end|>\n",
        f"assistant\nI look.\n{CALLED}\n{CALLED}<|im_end|>\n",
        "user\n<tool_response>\nnoon\n</tool_response>\n<tool_response>\nsix\n</tool_response><|im_end|>\n",
        f"assistant\n{CALLED}<|im_end|>\n",
    ]
    assert rendered(CHATML, PAST).startswith("<|im_start|>system\n# Tools")


def test_a_template_without_a_system_role_gets_the_schemas_before_the_first_question() -> None:
    assert rendered(NO_SYSTEM, PAST).startswith("<|im_start|>user\n# Tools")
    with pytest.raises(UnusableTemplate, match="no system"):
        rendered(NO_SYSTEM, [{"role": "system", "content": "Be kind."}, *PAST])


def test_past_calls_are_text_where_the_template_does_not_know_them_and_no_tools_are_given() -> None:
    assert CALLED in rendered(CHATML, PAST, ())
    knows = CHATML.replace("m['content']", "m['content'] + (m.tool_calls | default('') | string)")
    assert CALLED not in rendered(knows, PAST, ())
    broken = {**CALL, "function": {"name": "tide", "arguments": "no JSON"}}
    said = rendered(CHATML, [*PAST[:1], {"role": "assistant", "content": "", "tool_calls": [broken]}], ())
    assert '"arguments": "no JSON"' in said
    alone = rendered(CHATML, [{"role": "tool", "content": "noon"}], ())
    assert alone.startswith("<|im_start|>tool\nnoon")


def test_tools_that_nobody_would_find_in_the_answer_are_refused() -> None:
    with pytest.raises(InvalidTools, match="answer_form none"):
        rendered(CHATML, PAST, form="none")
    assert rendered(KNOWS, PAST[:1], form="none").startswith('{"type": "function"')

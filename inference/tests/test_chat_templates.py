"""Chat templates are programs of others: each gets what it wants, and whatever fails is the request's 400."""

import json
import sys
import time
from typing import Any

import pytest

from inference.tests.scripted import CHATML, byte_level
from inference.worker.requests import prompts
from inference.worker.requests.prompts import UnusableTemplate, prompt_ids

# The branch for called functions of deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B: arguments are a string.
DEEPSEEK = (
    "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ '```json\\n' + c['function']['arguments'] + '\\n```' }}"
    "{% endfor %}{% if not m.tool_calls %}{{ m.content }}{% endif %}{% endfor %}"
)
# Of Qwen3-Coder: an object.
QWEN_CODER = (
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{% for name, value in c.function.arguments|items %}<{{ name }}={{ value }}>{% endfor %}{% endfor %}{% endfor %}"
)
PRINTED = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments }}{% endfor %}{% endfor %}"
DUMPED = PRINTED.replace("arguments }}", "arguments | tojson }}")
ARGUMENTS = '{"at": "noon", "deep": true}'


def rendered(template: Any, arguments: str | None = None, **options: Any) -> str:
    tokenizer = byte_level()
    tokenizer.chat_template = template
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hi."}]
    if arguments is not None:
        call = {"id": "c", "type": "function", "function": {"name": "tide", "arguments": arguments}}
        messages += [{"role": "assistant", "content": "", "tool_calls": [call]}]
    return str(tokenizer.decode(prompt_ids(tokenizer, {"messages": messages}, len(tokenizer), options)))


@pytest.mark.parametrize(
    ("template", "arguments", "shown"),
    [
        (DEEPSEEK, ARGUMENTS, "Hi.```json\n" + ARGUMENTS + "\n```"),
        (QWEN_CODER, ARGUMENTS, "Hi.<at=noon><deep=True>"),
        (QWEN_CODER, "", "Hi."),
        (PRINTED, ARGUMENTS, ARGUMENTS),
        (DUMPED, ARGUMENTS, ARGUMENTS),
        (PRINTED, "no JSON", "no JSON"),
        (PRINTED, "[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_are_an_object_or_a_string_as_the_template_wants(template: str, arguments: str, shown: str) -> None:
    assert rendered(template, arguments) == shown


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('only users, please') }}", "refuses the messages: only users, please"),
        ("{{ messages[0].content + 1 }}", "TypeError: can only concatenate str"),
        ("{{ messages[0].content.nothing.at_all }}", "has no attribute 'nothing'"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ [1][5].x }}", "list object has no element 5"),
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ 'x' * 20000000 }}", "makes 20,000,000 characters of the messages: expected at most 16,777,216"),
        ("{{ 'x' * 10 ** 18 }}", "MemoryError"),
        ({"tool_use": "{{ messages }}"}, "ValueError"),
        ("", "no chat template: use /v1/completions"),
    ],
)
def test_what_a_template_says_is_told(template: Any, words: str) -> None:
    with pytest.raises(UnusableTemplate, match="chat template") as refused:
        rendered(template)
    assert words in str(refused.value)
    assert (refused.value.code, refused.value.param) == ("invalid_messages", "messages")


def test_what_a_template_says_of_objects_is_told_where_it_takes_strings_no_better() -> None:
    with pytest.raises(UnusableTemplate, match="no tools here"):
        rendered("{% if messages[1].tool_calls %}{{ raise_exception('no tools here') }}{% endif %}", ARGUMENTS)


def test_a_template_that_loops_is_ended_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "TEMPLATE_S", 0.3)
    loops = "{% for i in range(99999) %}" * 4 + "{{ i }}" + "{% endfor %}" * 4
    tracing, began = sys.gettrace(), time.monotonic()
    with pytest.raises(UnusableTemplate, match=r"took longer than 0\.3 s"):
        rendered(loops)
    assert time.monotonic() - began < 10
    assert sys.gettrace() is tracing
    assert rendered(CHATML).endswith("assistant\n")


def test_variables_reach_the_template_and_a_final_message_stays_open() -> None:
    thinking = "{% if enable_thinking is defined and not enable_thinking %}/no_think {% endif %}" + CHATML
    assert rendered(thinking, enable_thinking=False).startswith("/no_think ")
    assert rendered(CHATML, add_generation_prompt=False).endswith("<|im_end|>\n")
    still_open = rendered(CHATML, add_generation_prompt=False, continue_final_message=True)
    assert still_open == "<|im_start|>user\nHi."
    with pytest.raises(UnusableTemplate, match="final message does not appear"):
        rendered("{{ 'content' }}", add_generation_prompt=False, continue_final_message=True)


def test_arguments_go_to_the_worker_as_they_came() -> None:
    from inference.openai.requests import ChatRequest

    call = {"id": "c", "type": "function", "function": {"name": "tide", "arguments": "[" * 60 + "]" * 60}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]
    [prompt] = ChatRequest.parse(json.dumps({"model": "m", "messages": messages}).encode()).prompts
    assert prompt["messages"][1]["tool_calls"] == [call]

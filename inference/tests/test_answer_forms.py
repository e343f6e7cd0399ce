"""The form of a model's answers: by its tokenizer, its row or its chat template."""

from typing import Any

import pytest

from inference.engine.forms.choice import AnswerForms
from inference.engine.forms.templates import FORMS, NO_FORM
from inference.tests.scripted import CHATML, byte_level
from inference.tests.test_answer_parts import TIDE
from steering.language_models import ANSWER_FORMS

KNOWS = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}"


def forms(template: Any, **options: Any) -> AnswerForms:
    tokenizer = byte_level(**options)
    tokenizer.chat_template = template
    return AnswerForms(tokenizer)


def test_the_row_may_name_every_form() -> None:
    assert {*ANSWER_FORMS} == {"", NO_FORM, *FORMS}


@pytest.mark.parametrize(
    ("marks", "form"),
    [
        ("<tool_call>", "hermes"),
        ("<tool_call><function=x><parameter=y>", "qwen3_coder"),
        ("<|start_header_id|><|python_tag|>", "llama3"),
        ('<|start_header_id|>{"name": function name, "parameters": …}', "llama3"),
        ("[AVAILABLE_TOOLS][TOOL_CALLS]", "mistral"),
        ("<|tool|><|/tool|><|tool_call|><|/tool_call|>", "phi4"),
        ("<|tool_call|><|tool_list|>", "granite"),
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "deepseek"),
        ("<|tool_call>call:{{ name }}", "gemma4"),
    ],
)
def test_the_chat_template_shows_the_form(marks: str, form: str) -> None:
    found = forms(CHATML + KNOWS + "{# " + marks.replace("{{ name }}", "") + " #}")
    assert found.takes_tools("")
    parsing = found.parsing("", [TIDE])
    assert parsing is not None
    assert parsing.template["fields"].items() >= FORMS[form].items()
    named = forms([{"name": "default", "template": CHATML}, {"name": "tool_use", "template": KNOWS + marks}])
    assert named.takes_tools("")


def test_a_template_without_tools_is_parsed_only_where_the_request_has_tools() -> None:
    plain = forms(CHATML)
    assert not plain.takes_tools("")
    assert plain.parsing("", []) is None
    parsing = plain.parsing("", [TIDE])
    assert parsing is not None
    assert parsing.template["fields"].items() >= FORMS["hermes"].items()
    assert not forms(CHATML + KNOWS).takes_tools("")  # in a form that nobody knows
    assert not forms("").takes_tools("")


def test_reasoning_is_looked_for_where_the_template_knows_of_it() -> None:
    thinking = forms(CHATML + "{{ '<think>' }}").parsing("", [])
    assert thinking is not None
    assert "reasoning_content" in thinking.template["fields"]


def test_the_form_of_the_row_counts_more_than_the_template() -> None:
    found = forms(CHATML + KNOWS + "<tool_call><think>")
    assert found.parsing("none", [TIDE]) is None
    parsing = found.parsing("mistral", [TIDE])
    assert parsing is not None
    assert parsing.template["fields"].items() >= FORMS["mistral"].items()
    assert found.parsing("think", []) is not None


def test_the_tokenizers_own_template_counts_more_than_the_chat_template(caplog: pytest.LogCaptureFixture) -> None:
    own = {"start_anchor": "assistant\n", "fields": {"tool_calls": {"open": "<c>", "close": "</c>"}, "content": {}}}
    found = forms(CHATML + KNOWS, response_template=own)
    assert found.takes_tools("")
    parsing = found.parsing("", [TIDE])
    assert parsing is not None
    assert parsing.template == own
    assert not caplog.records
    broken = forms(CHATML + KNOWS + "<tool_call>", response_template={"fields": {"content": {"open_pattern": "("}}})
    assert broken.parsing("", [TIDE]) is not None
    assert "cannot be read" in caplog.text

"""The regions of texts by each form of answers, and the beginning of messages by the chat template."""

from collections.abc import Sequence
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from inference.engine.detokenizer import TokenTexts
from inference.engine.forms.regions import FormRegions
from inference.engine.forms.templates import FORMS, NO_FORM
from inference.tests.regions import read
from inference.tests.scripted import CHATML, byte_level
from inference.tests.test_answer_forms import KNOWS
from inference.worker.requests.prompts import answer_beginning

MISTRAL = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
LLAMA = (
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
THINKS = CHATML.replace("assistant\\n'", "assistant\\n<think>\\n'")


def tokenizer(template: Any = CHATML, **options: Any) -> PreTrainedTokenizerFast:
    made = byte_level(**options)
    made.chat_template = template
    return made


def parts(made: PreTrainedTokenizerFast, chosen: str, answer: str, prompt: str = "") -> list[str]:
    """The text in regions, each before it a letter: C for a call, R for the reasoning, and - for content."""
    texts = TokenTexts(made.backend_tokenizer)
    regions = FormRegions(made, texts, [made.eos_token_id], answer_beginning(made)).of(chosen)
    assert regions is not None
    ids = [*made(prompt)["input_ids"], *made(answer)["input_ids"]]
    found: list[list[Any]] = []
    for region, token in zip(read(regions, ids, len(made(prompt)["input_ids"])), ids, strict=True):
        if not found or found[-1][0] != region:
            found.append([region, []])
        found[-1][1].append(token)
    names = {"content": "-", "call": "C", "reasoning": "R"}
    return [f"{names[region]} {made.decode(own)}" for region, own in found]


@pytest.mark.parametrize(
    ("form", "answer", "expected"),
    [
        ("hermes", "a<tool_call>{}</tool_call>b", ["- a<tool_call", "C >{}</tool_call>", "- b"]),
        (
            "qwen3_coder",
            "a<tool_call>\n<function=f>\n<parameter=x>1</parameter></function>\n</tool_call>b",
            [
                "- a<tool_call",
                "C >\n<function=f>\n<parameter=x>1</parameter></function>\n</tool_call>",
                "- b",
            ],
        ),
        ("qwen3_coder", "<function=f></function>b", ["- <function", "C =f></function>", "- b"]),
        ("llama3", ' {"name": "f", "parameters": {}}', ['-  {"name"', 'C : "f", "parameters": {}}']),
        ("llama3", "a<|python_tag|>f()", ["- a<|python_tag|", "C >f()"]),
        ("llama3", 'Write {"name": 1}.', ['- Write {"name": 1}.']),
        ("mistral", "a[TOOL_CALLS]f{}[TOOL_CALLS]g{}", ["- a[TOOL_CALLS", "C ]f{}[TOOL_CALLS]g{}"]),
        ("phi4", "a<|tool_call|>[]<|/tool_call|>b", ["- a<|tool_call|", "C >[]<|/tool_call|>", "- b"]),
        ("phi4", "functools[{}]", ["- functools", "C [{}]"]),
        ("granite", "<|tool_call|>[{}]", ["- <|tool_call|", "C >[{}]"]),
        (
            "deepseek",
            "a<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>b",
            [
                "- a<｜tool▁calls▁begin｜",
                "C ><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                "- b",
            ],
        ),
        ("gemma4", "a<|tool_call>call:f{}<tool_call|>b", ["- a<|tool_call", "C >call:f{}<tool_call|>", "- b"]),
        ("think", "<think>a</think><tool_call>", ["- <think", "R >a</think>", "- <tool_call>"]),
    ],
)
def test_each_form_has_its_delimiters(form: str, answer: str, expected: Sequence[str]) -> None:
    assert form in FORMS
    assert parts(tokenizer(CHATML + KNOWS), form, answer) == expected


def test_a_model_has_the_form_of_its_chat_template_and_none_where_its_row_says_so() -> None:
    made = tokenizer(CHATML + KNOWS + "{# [TOOL_CALLS] #}")
    assert parts(made, "", "[TOOL_CALLS]f")[-1] == "C ]f"
    assert parts(made, "hermes", "<tool_call>f")[-1] == "C >f"
    assert FormRegions(made, TokenTexts(made.backend_tokenizer), []).of(NO_FORM) is None


def test_a_model_that_is_asked_for_calls_as_text_has_the_form_that_it_is_asked_for() -> None:
    assert parts(tokenizer(), "", "a<tool_call>{}</tool_call>")[-1] == "C >{}</tool_call>"


def test_the_tokenizers_own_template_counts_with_its_own_beginning_of_messages() -> None:
    fields = {
        "tool_calls": {"open": "<c>", "close": "</c>"},
        "thinking": {"open": "<t>", "close": "</t>"},
        "content": {},
    }
    made = tokenizer(CHATML + KNOWS, response_template={"start_anchor": "Bot:", "fields": fields})
    prompt = "User: <c>. Bot: <t>a</t><c>b</c> User: <c>"
    assert parts(made, "", "<c>d</c>", prompt) == [
        "- User: <c>. Bot: <t",
        "R >a</t>",
        "- <c",
        "C >b</c>",
        "-  User: <c",
        "C ><c>d</c>",
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, "<|im_start|>assistant"),
        (THINKS, "<|im_start|>assistant"),
        (LLAMA, "<|start_header_id|>assistant<|end_header_id|>"),
        (MISTRAL, "[/INST]"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", ""),
        ("{{ raise_exception('no') }}", ""),
        ("", ""),
    ],
)
def test_the_chat_template_shows_the_beginning_of_messages(template: str, expected: str) -> None:
    assert answer_beginning(tokenizer(template)) == expected


def test_a_chat_template_that_opens_the_reasoning_begins_an_answer_in_it() -> None:
    made = tokenizer(THINKS)
    told = [{"role": "user", "content": "Hm <think>."}]
    past = [*told, {"role": "assistant", "content": "<think>So.</think>Yes."}, *told]
    prompt = made.apply_chat_template(past, tokenize=False, add_generation_prompt=True)
    assert parts(made, "", "So.</think>Yes.", prompt)[1:] == [
        "R >So.</think>",
        "- Yes.<|im_end|>\n<|im_start|>user\nHm <think>.<|im_end|>\n<|im_start|>assistant\n<think",
        "R >\nSo.</think>",
        "- Yes.",
    ]

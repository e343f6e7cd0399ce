"""The parts of an answer: for every form, whole and cut at every place, the same content, reasoning and calls."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from inference.engine.forms.parser import AnswerParser, Part, joined
from inference.engine.forms.templates import FORMS, response_template
from inference.interface import Parsing

PROPERTIES = {"at": {"type": "string"}, "n": {"type": "integer"}, "deep": {"type": "object"}}
TIDE = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": PROPERTIES}}}
ARGUMENTS = {"at": 'né 🌊\n</x> {} \\ "', "n": 3, "deep": {"a": [1, {"b": "漢"}], "c": None}}
TEXT = json.dumps(ARGUMENTS, ensure_ascii=False)
CALL = {"kind": "call", "name": "tide", "arguments": TEXT}
HERMES = f'<tool_call>\n{{"name": "tide", "arguments": {TEXT}}}\n</tool_call>'
XML = (
    f"<tool_call>\n<function=tide>\n<parameter=at>\n{ARGUMENTS['at']}\n</parameter>\n<parameter=n>\n3\n</parameter>\n"
    f"<parameter=deep>\n{json.dumps(ARGUMENTS['deep'], ensure_ascii=False)}\n</parameter>\n</function>\n</tool_call>"
)
LLAMA = f'{{"name": "tide", "parameters": {TEXT}}}'
LISTED = f'{{"name": "tide", "arguments": {TEXT}}}'
R1 = f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>tide\n```json\n{TEXT}\n```<｜tool▁call▁end｜>"
V3 = f"<｜tool▁call▁begin｜>tide<｜tool▁sep｜>{TEXT}<｜tool▁call▁end｜>"
GEMMA_TEXT = json.dumps({"at": "né {}", "n": 3}, ensure_ascii=False)
GEMMA = '<|tool_call>call:tide{at:<|"|>né {}<|"|>,n:3}<tool_call|>'

# One call, and two calls after a text, as each form writes them.
WRITTEN = [
    ("hermes", HERMES, f"Let me look.\n{HERMES}\n{HERMES}"),
    ("qwen3_coder", XML, f"Let me look.\n\n{XML}\n{XML}"),
    ("qwen3_coder", XML.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"), f"Let me look.\n{XML}\n{XML}"),
    ("llama3", LLAMA, f"Let me look.<|python_tag|>{LLAMA}; {LLAMA}"),
    ("llama3", LLAMA.replace('{"name"', '{"type": "function", "name"'), f"Let me look. <|python_tag|>{LLAMA}\n{LLAMA}"),
    ("mistral", f"[TOOL_CALLS] [{LISTED}]", f"Let me look.[TOOL_CALLS][{LISTED}, {LISTED}]"),
    (
        "mistral",
        f"[TOOL_CALLS]tide[ARGS]{TEXT}",
        f"Let me look.[TOOL_CALLS]tide[ARGS]{TEXT}[TOOL_CALLS]tide[ARGS]{TEXT}",
    ),
    (
        "mistral",
        f"[TOOL_CALLS]tide{TEXT}",
        f"Let me look.[TOOL_CALLS]tide[CALL_ID]a1b2[ARGS]{TEXT}[TOOL_CALLS]tide{TEXT}",
    ),
    ("phi4", f"<|tool_call|>[{LISTED}]<|/tool_call|>", f"Let me look.<|tool_call|>[{LISTED}, {LISTED}]<|/tool_call|>"),
    ("phi4", f"functools[{LLAMA}]", f"Let me look. <|tool_call|>[{LLAMA}]<|/tool_call|><|tool_call|>[{LLAMA}]"),
    ("granite", f"<|tool_call|>[{LISTED}]", f"Let me look.\n<|tool_call|>[{LISTED}, {LISTED}]"),
    (
        "granite",
        f"<tool_call>[{LISTED}]",
        f"Let me look.<tool_call>{LISTED}</tool_call>\n<tool_call>{LISTED}</tool_call>",
    ),
    (
        "deepseek",
        f"<｜tool▁calls▁begin｜>{R1}<｜tool▁calls▁end｜>",
        f"Let me look.\n\n<｜tool▁calls▁begin｜>{R1}\n{R1}<｜tool▁calls▁end｜>",
    ),
    (
        "deepseek",
        f"<｜tool▁calls▁begin｜>{V3}<｜tool▁calls▁end｜>",
        f"Let me look.<｜tool▁calls▁begin｜>{V3}{V3}<｜tool▁calls▁end｜>",
    ),
    ("gemma4", GEMMA, f"Let me look.{GEMMA}{GEMMA}"),
]
SAID = {"kind": "content", "text": "Let me look."}


def parsed(form: str, answer: str, cuts: Iterable[int] = (), prompt: str = "", **options: Any) -> list[Part]:
    own = {"tools": (TIDE,), **options}
    parser = AnswerParser(Parsing(response_template(FORMS[form], reasoning=True), **own), prompt)
    parts: list[Part] = []
    begin = 0
    for cut in (*cuts, len(answer)):
        parts += parser.push(answer[begin:cut])
        begin = cut
    return joined([*parts, *parser.finish()])


def at_every_cut(form: str, answer: str, **options: Any) -> list[Part]:
    """The parts of the whole answer, which are those of the answer in two pieces, and letter by letter."""
    whole = parsed(form, answer, **options)
    for cut in range(len(answer) + 1):
        assert parsed(form, answer, [cut], **options) == whole, answer[:cut]
    assert parsed(form, answer, range(len(answer)), **options) == whole
    return whole


@pytest.mark.parametrize(("form", "one", "two"), WRITTEN)
def test_calls_of_every_form_are_found_at_every_cut(form: str, one: str, two: str) -> None:
    call = {**CALL, "arguments": GEMMA_TEXT} if form == "gemma4" else CALL
    assert at_every_cut(form, one) == [call]
    assert at_every_cut(form, two) == [SAID, call, call]


@pytest.mark.parametrize(("form", "one", "two"), WRITTEN)
def test_only_one_call_is_taken_where_one_is_asked_for(form: str, one: str, two: str) -> None:
    assert [part["kind"] for part in at_every_cut(form, two, parallel=False)] == ["content", "call"]


@pytest.mark.parametrize(("form", "one", "two"), WRITTEN)
def test_a_call_that_is_cut_is_text_or_whole(form: str, one: str, two: str) -> None:
    for length in range(len(one)):
        found = parsed(form, one[:length])
        calls = [part for part in found if part["kind"] == "call"]
        if not calls:
            assert "".join(part["text"] for part in found) == one[:length]
        else:  # its delimiter alone is missing
            assert "}" not in one[length:] or form == "qwen3_coder"
            assert len(found) == 1 or form in {"qwen3_coder", "deepseek"}


@pytest.mark.parametrize(("form", "one", "two"), WRITTEN)
def test_a_call_of_an_unknown_function_is_text(form: str, one: str, two: str) -> None:
    unknown = two.replace("tide", "ebb")
    assert at_every_cut(form, unknown) == [{"kind": "content", "text": unknown}]


@pytest.mark.parametrize(("form", "one", "two"), WRITTEN)
def test_without_tools_a_call_is_text(form: str, one: str, two: str) -> None:
    assert at_every_cut(form, two, tools=()) == [{"kind": "content", "text": two}]


@pytest.mark.parametrize(
    "broken",
    [
        "<tool_call>\nno JSON\n</tool_call>",
        '<tool_call>{"name": "tide", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "tide", "arguments": {"n": NaN}}</tool_call>',
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call>" + "[" * 5000 + "</tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>1</tool_call>",
    ],
)
def test_what_is_broken_is_text_and_the_calls_around_it_are_found(broken: str) -> None:
    answer = f"{HERMES}\n{broken}\n and {HERMES}"
    whole = parsed("hermes", answer)
    assert whole == [CALL, {"kind": "content", "text": f"{broken}\n and"}, CALL]
    assert parsed("hermes", answer, range(0, len(answer), 3)) == whole


def test_xml_with_something_else_in_it_is_text() -> None:
    for broken in (XML.replace("<parameter=n>", "n: "), XML.replace("</parameter>\n</function>", "</function>")):
        assert at_every_cut("qwen3_coder", broken) == [{"kind": "content", "text": broken}]


def test_arguments_that_cannot_be_utf_8_stay_escaped() -> None:
    [call] = parsed("hermes", r'<tool_call>{"name": "tide", "arguments": {"at": "\ud83c\u0000"}}</tool_call>')
    assert json.loads(call["arguments"]) == {"at": "\ud83c\0"}
    assert call["arguments"].encode()


# --- reasoning ---


@pytest.mark.parametrize(
    ("prompt", "answer", "parts"),
    [
        ("", "<think>\nHm. \n</think>\n\nYes.\n", [("reasoning", "Hm."), ("content", "Yes.\n")]),
        ("…<think>\n", "Hm.\n</think>\n\nYes.", [("reasoning", "Hm."), ("content", "Yes.")]),
        ("…<think>", "\nHm.", [("reasoning", "Hm.")]),
        ("…<think>\n\n</think>\n\n", "Yes. <think>", [("content", "Yes. <think>")]),
        ("", "<think></think>Yes.", [("content", "Yes.")]),
        ("", "  <think>a</think> </think> b", [("reasoning", "a"), ("content", "</think> b")]),
        ("", "Yes: <think> is a tag.", [("content", "Yes: <think> is a tag.")]),
        ("What is <think>? \nassistant\n", "A tag.", [("content", "A tag.")]),
        ("", "Hm.\n</think>\n\nYes.", [("content", "Hm.\n</think>\n\nYes.")]),
        ("", "</think>", [("content", "</think>")]),
        ("", " [/THINK] a </think> b</think>", [("content", " [/THINK] a </think> b</think>")]),
        ("", "Yes.<channel|>", [("content", "Yes.<channel|>")]),
        ("…<think>\n\n</think>\n\n", "</think>Yes.", [("content", "</think>Yes.")]),
        ("…<think>", "</think></think>", [("content", "</think>")]),
        ("…<think>", "Hm.</thi", [("reasoning", "Hm.</thi")]),
        ("", "Yes.</thi", [("content", "Yes.</thi")]),
        ("", "<thi", [("content", "<thi")]),
        ("", "[THINK]Hm.[/THINK]Yes.", [("reasoning", "Hm."), ("content", "Yes.")]),
        ("", "  Hi  \n there \n", [("content", "  Hi  \n there \n")]),
    ],
)
def test_reasoning_is_what_stands_at_the_beginning(prompt: str, answer: str, parts: list[tuple[str, str]]) -> None:
    expected = [{"kind": kind, "text": text} for kind, text in parts]
    assert at_every_cut("hermes", answer, prompt=prompt) == expected
    assert at_every_cut("think", answer, prompt=prompt, tools=()) == expected


def test_calls_come_after_reasoning_and_not_in_it() -> None:
    answer = f"Maybe {HERMES}?\n</think>\n\n{HERMES}"
    found = at_every_cut("hermes", answer, prompt="<think>\n")
    assert found == [{"kind": "reasoning", "text": f"Maybe {HERMES}?"}, CALL]


def test_the_parser_knows_in_what_it_is() -> None:
    parser = AnswerParser(Parsing(response_template(FORMS["hermes"], reasoning=True), (TIDE,)), "<think>")
    seen = [parser.region]
    for piece in ("Hm.", "</think>", "Yes.", "<tool_call>", HERMES.removeprefix("<tool_call>"), "And"):
        parser.push(piece)
        seen.append(parser.region)
    assert seen == ["reasoning", "reasoning", "content", "content", "call", "content", "content"]

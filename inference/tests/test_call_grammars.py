"""Grammars hold answers to calls: in every form, after reasoning, from the beginning or from where a call begins."""

import json
from typing import Any

import pytest
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerFast

from inference.engine.forms.choice import AnswerForms
from inference.engine.forms.holding import Held
from inference.engine.forms.schemas import closed
from inference.engine.forms.writing import WRITINGS, writing_of
from inference.interface import InvalidTools
from inference.tests.scripted import CHATML, byte_level
from inference.tests.test_answer_parts import parsed

PARAMETERS = {
    "type": "object",
    "properties": {"at": {"type": "string"}, "n": {"$ref": "#/$defs/n"}, "e": {"enum": ["a", "b"]}},
    "required": ["at", "n"],
    "$defs": {"n": {"type": "integer"}},
}
TIDE = {"type": "function", "function": {"name": "tide", "parameters": PARAMETERS}}
EBB: dict[str, Any] = {"type": "function", "function": {"name": "ebb", "parameters": {"type": "object"}}}
STRICT = {**TIDE, "function": {**TIDE["function"], "strict": True}}  # type: ignore[dict-item]
PLAIN = ["<|endoftext|>", "<|im_end|>"]
DELIMITERS = [
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|tool_call|>", "<|/tool_call|>", "<|python_tag|>"),
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
    *("<think>", "</think>"),
]
KNOWS = "{% for t in tools %}{{ t }}{% endfor %}"
# (the form, marks of a chat template in which it is written so)
KINDS = [(form, "") for form in WRITINGS] + [
    ("mistral", "[ARGS]"),
    ("deepseek", "```json"),
    ("granite", "<|tool_call|>"),
]
BEFORE = {None: "", False: "<think>Hm.\n</think>\n\n", True: "Hm.\n</think>\n\n"}
"""The reasoning of an answer, by whether the prompt has opened it."""


def tokenizer_of(special: list[str], marks: str) -> PreTrainedTokenizerFast:
    made = byte_level(["Hello", " there", "tide"], special, eos_token="<|im_end|>")
    made.chat_template = CHATML + KNOWS + "{# <think> " + marks + " #}"
    return made


class Grammar:
    """The grammar of answers in a form; `allows` tells how far a text is allowed, and whether it may end there."""

    def __init__(self, form: str, marks: str, *, special: bool = False, **held: Any) -> None:
        self.tokenizer = tokenizer_of([*PLAIN, *(DELIMITERS if special else [])], marks)
        names = {token_id: name for name, token_id in self.tokenizer.get_added_vocab().items()}
        text = Held(**held).grammar(AnswerForms(self.tokenizer), form, names)
        assert text is not None
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self._matcher = from_tokenizer(self.tokenizer, n_vocab=len(self.tokenizer), eos_token=[end])
        self._text = LLMatcher.grammar_from_lark(text)

    def allows(self, text: str) -> bool:
        matcher = LLMatcher(self._matcher, self._text, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return matcher.try_consume_tokens(ids) == len(ids) and bool(matcher.is_accepting())


def written(form: str, marks: str, names: tuple[str, ...] = ("tide",), wrong: bool = False) -> str:
    """Calls in a form; with `wrong` an argument is missing."""
    writing = writing_of(form, marks)
    assert writing is not None
    arguments: dict[str, Any] = {"at": "né\n", **({} if wrong else {"n": 3}), "e": "b"}
    text = json.dumps(arguments, ensure_ascii=False)
    if writing.is_xml:
        text = "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in arguments.items())
    each = [
        writing.head.replace("{name}", name)
        + (text if name == "tide" else "" if writing.is_xml else "{}")
        + writing.tail
        for name in names
    ]
    return writing.begin + writing.between.join(each) + writing.end


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("opened", [None, False, True])
@pytest.mark.parametrize(("form", "marks"), KINDS)
def test_a_required_call_is_held_to_its_function(form: str, marks: str, opened: bool | None, special: bool) -> None:
    grammar = Grammar(form, marks, special=special, tools=[TIDE, EBB], choice="required", opened=bool(opened))
    before = BEFORE[opened]
    both = ("tide", "ebb")
    assert grammar.allows(before + written(form, marks))
    assert grammar.allows(before + written(form, marks, both))
    for wrong in (
        "",
        "Hello",
        written(form, marks, wrong=True),
        written(form, marks, ("neap",)),
        "Hello" + written(form, marks),
    ):
        assert not grammar.allows(before + wrong), wrong
    one = Grammar(
        form, marks, special=special, tools=[TIDE, EBB], choice="required", parallel=False, opened=bool(opened)
    )
    assert one.allows(before + written(form, marks))
    assert not one.allows(before + written(form, marks, both))
    named = Grammar(form, marks, special=special, tools=[TIDE, EBB], choice="function:ebb", opened=bool(opened))
    assert named.allows(before + written(form, marks, ("ebb",)))
    assert not named.allows(before + written(form, marks))
    assert not named.allows(before + written(form, marks, ("ebb", "ebb")))


@pytest.mark.parametrize(("form", "marks"), KINDS)
def test_what_a_grammar_allows_the_parser_finds(form: str, marks: str) -> None:
    calls = [
        part for part in parsed(form, written(form, marks, ("tide", "tide")), tools=(TIDE,)) if part["kind"] == "call"
    ]
    assert [json.loads(call["arguments"]) for call in calls] == [{"at": "né\n", "n": 3, "e": "b"}] * 2


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("opened", [None, False, True])
@pytest.mark.parametrize(("form", "marks"), KINDS)
def test_a_strict_function_is_held_from_where_its_call_begins(
    form: str, marks: str, opened: bool | None, special: bool
) -> None:
    before, writing = BEFORE[opened], writing_of(form, marks)
    assert writing is not None
    text = "" if form == "llama3" else "Hello there.\n"
    for parallel in (True, False):
        grammar = Grammar(form, marks, special=special, tools=[STRICT, EBB], parallel=parallel, opened=bool(opened))
        assert grammar.allows(before + "Hello there.")
        assert grammar.allows(before + text + written(form, marks))
        assert grammar.allows(before + text + written(form, marks, ("ebb",)))
        assert grammar.allows(before + text + written(form, marks, ("tide", "ebb"))) == parallel
        assert not grammar.allows(before + text + written(form, marks, wrong=True))
        if form != "llama3":
            assert not grammar.allows(before + text + writing.opening + "Hello")
    if special and opened is False:
        assert grammar.allows(f"<think>Is {writing.head[:1]}it?</think>Hello")


def test_the_content_is_held_to_its_schema_where_a_call_is_allowed_too() -> None:
    schema = json.dumps({"type": "object", "properties": {"k": {"type": "integer"}}, "additionalProperties": False})
    for form, marks in KINDS:
        if form == "llama3":
            continue
        grammar = Grammar(form, marks, tools=[TIDE], schema=schema)
        assert grammar.allows('{"k": 3}')
        assert grammar.allows(written(form, marks))
        assert not grammar.allows('{"k": "x"}')
        assert not grammar.allows("Hello")
    with pytest.raises(InvalidTools, match="bare JSON"):
        Grammar("llama3", "", tools=[TIDE], schema=schema)
    tagged = Grammar("llama3", "", special=True, tools=[TIDE], schema=schema)
    assert tagged.allows('{"k": 3}')
    assert tagged.allows("<|python_tag|>" + written("llama3", ""))


def test_json_comes_after_reasoning_that_the_prompt_has_opened() -> None:
    grammar = Grammar("hermes", "", tools=[], schema='{"type": "object"}', opened=True)
    assert grammar.allows('Hm {"a": 1}?\n</think>\n\n{"k": 3}')
    assert not grammar.allows('{"k": 3}')


def test_an_answer_is_free_where_nothing_holds_it() -> None:
    forms = AnswerForms(tokenizer_of(PLAIN, ""))
    for held in (Held([]), Held([TIDE]), Held([], schema="{}"), Held([], opened=True), Held([TIDE], opened=True)):
        assert held.grammar(forms, "", {}) is None


def test_schemas_that_cannot_be_held_are_refused_where_the_function_is_strict() -> None:
    odd = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True, "contains": {}}}}
    tool: dict[str, Any] = {"type": "function", "function": {"name": "odd", "parameters": odd, "strict": True}}
    with pytest.raises(InvalidTools, match="strict function odd cannot be held"):
        Grammar("hermes", "", tools=[tool])
    tool["function"]["strict"] = False
    grammar = Grammar("hermes", "", tools=[tool], choice="required")
    assert grammar.allows('<tool_call>\n{"name": "odd", "arguments": {"a": [1]}}\n</tool_call>')
    tool["function"]["parameters"] = {"type": "object", "properties": {"a": {"pattern": "(?<=x)y"}}}
    assert Grammar("hermes", "", tools=[tool], choice="required").allows(
        '<tool_call>\n{"name": "odd", "arguments": {"a": [1]}}\n</tool_call>'
    )
    with pytest.raises(InvalidTools, match="cannot be held to a function"):
        Grammar("gemma4", "", tools=[TIDE], choice="required")


def test_objects_that_list_their_properties_have_no_others_unless_the_schema_says_so() -> None:
    a = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": True}}}}
    inner = {"type": "object", "properties": {"b": True}, "additionalProperties": False}
    assert closed(a) == {"type": "object", "properties": {"a": inner}, "additionalProperties": False}
    says_so = {"properties": {}, "additionalProperties": True}
    for stays in ({"type": "object"}, says_so, {"allOf": [a]}, True, {"const": a}):
        assert closed(stays) == stays
    named = {"properties": {"type": "string"}}
    assert closed({"properties": named}) == {"properties": named, "additionalProperties": False}

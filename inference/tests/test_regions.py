"""The region of each token: content, the reasoning, or a call of a tool."""

import random
import re
from itertools import pairwise
from typing import Any

import pytest

from inference.engine.steering.regions import Span
from inference.tests.regions import MISTRAL, naive, read, regions_of
from inference.tests.scripted import SPECIAL, byte_level, sentencepiece

USER, ASSISTANT, END = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"
TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
WHOLE, SPLIT = byte_level(special=[*SPECIAL, *TAGS]), byte_level()


def spans_of(text: str, prompt: str = "", tokenizer: Any = WHOLE, **options: Any) -> list[tuple[str, str]]:
    """The text of prompt and answer in runs of one region."""
    before, after = (tokenizer(one)["input_ids"] for one in (prompt, text))
    ids = [*before, *after]
    found = read(regions_of(tokenizer, **options), ids, len(before))
    ends = [0, *(at + 1 for at, (a, b) in enumerate(pairwise(found)) if a != b), len(ids)]
    return [(found[a], tokenizer.decode(ids[a:b])) for a, b in pairwise(ends) if a < b]


def test_a_region_is_from_the_opening_delimiter_to_the_closing_one_both_included() -> None:
    text = "<think>So.</think>Yes.<tool_call>{}</tool_call>\n<tool_call>[]</tool_call>!"
    assert spans_of(text) == [
        ("reasoning", "<think>So.</think>"),
        ("content", "Yes."),
        ("call", "<tool_call>{}</tool_call>"),
        ("content", "\n"),
        ("call", "<tool_call>[]</tool_call>"),
        ("content", "!"),
    ]


def test_an_opening_delimiter_of_several_tokens_is_known_with_its_last_one() -> None:
    text = "Yes <tool_call>{}</tool_call>!"
    assert spans_of(text, tokenizer=SPLIT) == [
        ("content", "Yes <tool_call"),
        ("call", ">{}</tool_call>"),
        ("content", "!"),
    ]


def test_reasoning_is_at_the_beginning_of_a_message_alone() -> None:
    assert spans_of(" \n<think>So.</think>Write <think>!") == [
        ("content", " \n"),
        ("reasoning", "<think>So.</think>"),
        ("content", "Write <think>!"),
    ]
    assert spans_of("Write <think> and </think>!") == [("content", "Write <think> and </think>!")]


def test_a_call_in_the_reasoning_belongs_to_the_reasoning() -> None:
    text = "<think>A <tool_call>?</think><tool_call>{}"
    assert spans_of(text) == [("reasoning", "<think>A <tool_call>?</think>"), ("call", "<tool_call>{}")]


def test_earlier_messages_of_the_assistant_have_regions_and_those_of_others_have_none() -> None:
    told = f"{USER}Use <tool_call> and <think>.{END}\n"
    answer = f"{ASSISTANT}<think>So.</think><tool_call>{{}}</tool_call>"
    prompt = f"{told}{answer}{END}\n{told}{ASSISTANT}"
    assert spans_of("Done.", prompt) == [
        ("content", f"{told}{ASSISTANT}"),
        ("reasoning", "<think>So.</think>"),
        ("call", "<tool_call>{}</tool_call>"),
        ("content", f"{END}\n{told}{ASSISTANT}Done."),
    ]


def test_a_region_that_nothing_closes_ends_with_its_message() -> None:
    prompt = f"{ASSISTANT}<tool_call>{{{END}\n{USER}Hm.{END}\n{ASSISTANT}"
    assert spans_of("Done.", prompt) == [
        ("content", ASSISTANT),
        ("call", f"<tool_call>{{{END}"),
        ("content", f"\n{USER}Hm.{END}\n{ASSISTANT}Done."),
    ]
    assert spans_of("[TOOL_CALLS]f{}[TOOL_CALLS]g{}", spans=MISTRAL, tokenizer=SPLIT) == [
        ("content", "[TOOL_CALLS"),
        ("call", "]f{}[TOOL_CALLS]g{}"),
    ]


def test_a_prompt_that_opens_the_reasoning_begins_an_answer_in_it() -> None:
    expected = [("reasoning", "So.</think>"), ("content", "Yes.")]
    known = spans_of("So.</think>Yes.", f"{USER}Hm.{END}\n{ASSISTANT}<think>\n")
    assert known == [("content", f"{USER}Hm.{END}\n{ASSISTANT}"), ("reasoning", "<think>\nSo.</think>"), expected[1]]
    unknown = spans_of("So.</think>Yes.", "[INST]Hm.[/INST]<think>\n", begins=None)
    assert unknown == [("content", "[INST]Hm.[/INST]<think>\n"), *expected]
    assert spans_of("So.</think>Yes.", "Write <think>!", begins=None) == [("content", "Write <think>!So.</think>Yes.")]


def test_an_answer_that_goes_on_after_a_begun_message_is_in_its_region() -> None:
    assert spans_of("So.</think>Yes.", f"{ASSISTANT}<think>Hm. ") == [
        ("content", ASSISTANT),
        ("reasoning", "<think>Hm. So.</think>"),
        ("content", "Yes."),
    ]


def test_a_delimiter_without_characters_ends_a_region_before_another_one() -> None:
    spans = [Span("call", re.compile(r"\[A\]"), re.compile(r"(?=\[B\])|$")), Span("reasoning", re.compile(r"\[B\]"))]
    tokenizer = byte_level(special=[*SPECIAL, "[A]", "[B]"])
    assert spans_of("[A]x[B]y", spans=spans, tokenizer=tokenizer) == [("call", "[A]x"), ("reasoning", "[B]y")]


def test_sentencepiece_and_characters_of_several_tokens_are_read() -> None:
    tokenizer = sentencepiece()
    spans = [Span("call", re.compile("<｜c｜>"), re.compile("<｜/c｜>"))]
    found = spans_of("é <｜c｜>x🌊<｜/c｜> é", spans=spans, tokenizer=tokenizer, begins=None)
    assert [region for region, _ in found] == ["content", "call", "content"]
    assert found[1][1].endswith("x🌊<｜/c｜>")


@pytest.mark.parametrize("tokenizer", [WHOLE, SPLIT])
@pytest.mark.parametrize("seed", range(40))
def test_any_text_has_the_regions_of_the_naive_reference(tokenizer: Any, seed: int) -> None:
    chance = random.Random(seed)
    others = ["Hello", " there", "<", ">", "{", "\n", "é🌊", "call>"]
    pieces = [*TAGS, *TAGS, USER, ASSISTANT, ASSISTANT, f"{END}\n", *others]
    prompt, answer = ("".join(chance.choices(pieces, k=k)) for k in (12, 8))
    answer = answer.replace(END, "").replace(USER, "").replace(ASSISTANT, "")
    before, after = (tokenizer(one)["input_ids"] for one in (prompt, answer))
    ids = [*before, *after]
    found = read(regions_of(tokenizer), ids, len(before))
    assert found == naive(tokenizer, ids, len(before)), (prompt, answer)


def test_the_regions_of_an_answer_are_those_of_the_next_prompt() -> None:
    prompt = f"{USER}Hm.{END}\n{ASSISTANT}"
    answer = "<think>So.</think>Yes <tool_call>{}</tool_call>!"
    first = spans_of(answer, prompt)
    assert spans_of("Done.", f"{prompt}{answer}{END}\n{USER}Hm.{END}\n{ASSISTANT}")[: len(first) - 1] == first[:-1]

"""The engine finds calls and reasoning in answers, with delimiters that are special tokens; all else stays as it is."""

from collections.abc import Iterator
from typing import Any

import pytest

from inference.engine.forms.templates import FORMS, response_template
from inference.interface import Event, Parsing
from inference.tests.engines import Collected
from inference.tests.scripted import after, byte_level, ids_of, scripted_engine
from inference.tests.test_answer_parts import TIDE

SPECIAL = ["<|endoftext|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>", "<|other|>"]
CALL = '{"name":"tide","arguments":{"n":3}}'
TOKENIZER = byte_level(["Hm", "Yes", " no", CALL], SPECIAL, eos_token="<|im_end|>")
PIECE = "".join(TOKENIZER.tokenize(CALL)) if len(TOKENIZER.tokenize(CALL)) == 1 else CALL
THOUGHT = [{"kind": "reasoning", "text": "Hm"}]
CALLED = [{"kind": "call", "name": "tide", "arguments": '{"n": 3}'}]
SAID = [{"kind": "content", "text": "Yes no"}]


@pytest.fixture(scope="module")
def collected() -> Iterator[Collected]:
    script = after(
        TOKENIZER,
        *("<think>", "Hm", "</think>", "<|other|>", "Yes", "Ġno", "<tool_call>", PIECE, "</tool_call>", "<|im_end|>"),
    )
    with scripted_engine(TOKENIZER, script) as made:
        yield made


def parsing(**options: Any) -> Parsing:
    return Parsing(response_template(FORMS["hermes"], reasoning=True), (TIDE,), **options)


def answer(collected: Collected, begin: str, **options: Any) -> tuple[list[Any], str, Event]:
    """The parts, the text and the last event of the answer after the token `begin`."""
    request = collected.submit(ids_of(TOKENIZER, begin), opens_text=True, **({"parsing": parsing()} | options))
    *deltas, finished = collected.wait(request)[1:]
    parts = [part for delta in deltas for part in delta.data.get("parts", [])]
    return parts, "".join(delta.data["text"] for delta in deltas), finished


def test_calls_and_reasoning_are_parts_of_their_own_and_no_text(collected: Collected) -> None:
    parts, text, finished = answer(collected, "<think>")
    assert parts == [*THOUGHT, {"kind": "content", "text": "Yes"}, {"kind": "content", "text": " no"}, *CALLED]
    assert text == "Yes no"
    assert finished.data == {"reason": "tool_calls", "completion_tokens": 9, "reasoning_tokens": 2}


def test_a_request_that_is_not_parsed_has_the_text_of_all_tokens_but_the_special_ones(collected: Collected) -> None:
    parts, text, finished = answer(collected, "<think>", parsing=None)
    assert (parts, text) == ([], f"HmYes no{CALL}")
    assert finished.data == {"reason": "stop", "completion_tokens": 9}


def test_a_call_that_max_tokens_cuts_is_text(collected: Collected) -> None:
    parts, text, finished = answer(collected, "</think>", max_new_tokens=4)
    assert text == "Yes no<tool_call>"
    assert {part["kind"] for part in parts} == {"content"}
    assert finished.data["reason"] == "length"


def test_a_stop_string_ends_a_parsed_answer(collected: Collected) -> None:
    for stop, said, thought in ((" no", "Yes", 2), ("</think>", "", 2), ("o<tool", "Yes n", 2)):
        parts, text, finished = answer(collected, "<think>", stop=(stop,))
        assert (text, finished.data["reason"]) == (said, "stop")
        assert parts[0] == THOUGHT[0]
        assert finished.data["reasoning_tokens"] <= thought


def test_the_only_call_ends_the_answer(collected: Collected) -> None:
    parts, _, finished = answer(collected, "</think>", parsing=parsing(parallel=False))
    assert parts[-1:] == CALLED
    assert finished.data["reason"] == "tool_calls"
    assert finished.data["completion_tokens"] == 6  # the end is not waited for


def test_log_probabilities_are_of_all_tokens(collected: Collected) -> None:
    request = collected.submit(ids_of(TOKENIZER, "<think>"), opens_text=True, parsing=parsing(), top_logprobs=0)
    entries = [one for event in collected.wait(request) for one in event.data.get("logprobs", [])]
    assert [one["token"] for one in entries][:3] == ["Hm", "</think>", "<|other|>"]
    assert len(entries) == 9

"""A steering that breaks calls and the reasoning leaves them whole where it leaves their tokens unsteered.

The scripted model writes after a steered token whatever the steering wants, and after an unsteered one its script.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inference.engine.forms.templates import FORMS, response_template
from inference.interface import Parsing
from inference.tests.engines import Collected, GivenDirections
from inference.tests.scripted import after, byte_level, ids_of, scripted_engine, scripted_model
from inference.tests.test_answer_parts import TIDE
from steering.spec import Change, SteeringPart, SteeringSpec

SPECIAL = ["<|endoftext|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"]
CALL = '{"name":"tide","arguments":{"n":3}}'
TOKENIZER = byte_level(["Hm", "Yes", "calls", "thinks", CALL], SPECIAL, eos_token="<|im_end|>")
TOKENIZER.chat_template = "{# <tool_call> <think> #}{% if tools %}{{ tools }}{% endif %}" + str(TOKENIZER.chat_template)
PARSING = Parsing(response_template(FORMS["hermes"], reasoning=True), (TIDE,))
CALLED = [{"kind": "call", "name": "tide", "arguments": '{"n": 3}'}]


@pytest.fixture(scope="module")
def collected() -> Iterator[Collected]:
    script = after(TOKENIZER, "<tool_call>", CALL, "</tool_call>", "<|im_end|>")
    script |= after(TOKENIZER, "calls", "<tool_call>") | after(TOKENIZER, "thinks", "<think>")
    script |= after(TOKENIZER, "<think>", "Hm", "</think>", "Yes", "<|im_end|>")
    with scripted_engine(TOKENIZER, script) as made:
        width = scripted_model(TOKENIZER, {}).config.hidden_size
        vectors = {word: torch.zeros(width) for word in ("calls", "thinks")}
        for word, vector in vectors.items():
            vector[ids_of(TOKENIZER, word)] = 1.0
        made.engine._hooks._weights = GivenDirections(lambda part: vectors[part.sae_id])
        yield made


def parts(collected: Collected, word: str, **flags: Any) -> list[dict[str, str]]:
    """The parts of the answer under a strong steering towards what follows `word`."""
    part = SteeringPart(word, "", 0, "blocks.0.hook_resid_post", (Change(0, 5.0),), **flags)
    request = collected.submit(
        ids_of(TOKENIZER, "Yes"),
        SteeringSpec.of([part]),
        opens_text=True,
        parsing=PARSING,
        max_new_tokens=6,
    )
    return [one for event in collected.wait(request) for one in event.data.get("parts", [])]


def test_a_strong_steering_breaks_a_call_and_leaves_it_whole_where_calls_are_unsteered(collected: Collected) -> None:
    for flags in ({}, {"thinking": False}):
        assert {part["kind"] for part in parts(collected, "calls", **flags)} == {"content"}
    assert parts(collected, "calls", tools=False) == CALLED
    assert parts(collected, "calls", tools=False, thinking=False) == CALLED


def test_a_strong_steering_breaks_the_reasoning_and_leaves_it_whole_where_it_is_unsteered(collected: Collected) -> None:
    for flags in ({}, {"tools": False}):
        broken = "".join(part["text"] for part in parts(collected, "thinks", **flags))
        assert "Hm" not in broken
    thought, *rest = parts(collected, "thinks", thinking=False)
    assert thought == {"kind": "reasoning", "text": "Hm"}
    # The content is steered again: after it comes what the steering wants.
    assert "".join(part["text"] for part in rest).startswith("Yes<think>")

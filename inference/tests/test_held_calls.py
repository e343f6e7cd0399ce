"""A model that knows nothing calls all the same: its answers are held to the form and to the function's schema."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from inference.engine.forms.choice import AnswerForms
from inference.engine.forms.holding import Held
from inference.engine.forms.writing import WRITINGS
from inference.interface import GenerationError, InvalidTools, SamplingParams
from inference.tests.engines import Collected, run_engine
from inference.tests.scripted import CHATML
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer
from steering.spec import Change, SteeringPart, SteeringSpec

PARAMETERS = {
    "type": "object",
    "properties": {
        "at": {"type": "string", "maxLength": 6},
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "deep": {"type": "array", "items": {"enum": ["a", None]}, "maxItems": 2},
    },
    "required": ["at", "n", "deep"],
}
TIDE: dict[str, Any] = {"type": "function", "function": {"name": "tide", "parameters": PARAMETERS}}
STRONG = SteeringSpec((SteeringPart("s", "f", 1, "blocks.1.hook_resid_post", (Change(3, 80.0), Change(7, -60.0))),))


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path_factory.mktemp("sae"))) as made:
        yield made


def answers(collected: Collected, form: str, number: int, **held: Any) -> list[tuple[list[Any], str]]:
    """The parts and the reason of answers at temperature 1, every second one under a strong steering."""
    tokenizer = collected.engine.tokenizer
    tokenizer.chat_template = CHATML + "{{ tools }}"
    forms = AnswerForms(tokenizer)
    grammar = Held([TIDE], **held).grammar(forms, form, collected.engine.texts.special)
    options: dict[str, Any] = {"parsing": forms.parsing(form, [TIDE]), "grammar": grammar, "opens_text": True}
    prompt = list(tokenizer("the ocean")["input_ids"])
    asked = [
        collected.submit(
            prompt,
            STRONG if seed % 2 else None,
            sampling=SamplingParams(seed=seed),
            max_new_tokens=900,
            **options,
        )
        for seed in range(number)
    ]
    events = [collected.wait(one, timeout_s=300) for one in asked]
    parts = [[part for event in each if event.kind == "delta" for part in event.data["parts"]] for each in events]
    return [(own, str(each[-1].data["reason"])) for own, each in zip(parts, events, strict=True)]


@pytest.mark.parametrize("form", WRITINGS)
def test_every_answer_is_a_call_that_follows_the_schema(collected: Collected, form: str) -> None:
    for parts, reason in answers(collected, form, 6, choice="function:tide"):
        assert reason == "tool_calls", parts
        [call] = [part for part in parts if part["kind"] != "reasoning"]
        given = json.loads(call["arguments"])
        assert {*given} == {"at", "n", "deep"}
        assert 0 <= given["n"] <= 99
        assert len(given["at"]) <= 6
        assert all(one in {"a", None} for one in given["deep"])


def test_several_calls_end(collected: Collected) -> None:
    for parts, reason in answers(collected, "hermes", 6, choice="required"):
        calls = [part for part in parts if part["kind"] == "call"]
        assert reason == "tool_calls" or len(calls) > 1
        assert len(calls) <= 16


def test_a_grammar_that_cannot_be_made_is_the_requests_error(collected: Collected) -> None:
    with pytest.raises(InvalidTools) as refused:
        collected.submit([1], grammar="start: nothing")
    assert isinstance(refused.value, GenerationError)
    assert refused.value.param == "tools"

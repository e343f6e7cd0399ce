"""What ends an answer: the model's end tokens and the tokenizer's, of which either may be those of its base model."""

import json

import pytest

from inference.engine.answer import end_tokens
from inference.engine.loading import vocabulary
from inference.interface import SamplingParams
from inference.tests.scripted import after, byte_level, ids_of, scripted_engine, scripted_model

TOKENIZER = byte_level(words=["Hello", " there"])
[BASE, START, END] = ids_of(TOKENIZER, "<|endoftext|>", "<|im_start|>", "<|im_end|>")


@pytest.mark.parametrize("configured", [BASE, [BASE], [BASE, END], None])
def test_the_tokenizers_end_ends_an_answer_where_the_model_names_another(configured: int | list[int] | None) -> None:
    script = after(TOKENIZER, "Ċ", "Hello", "Ġthere", "<|im_end|>", "<|im_start|>", "Ċ")
    model = scripted_model(TOKENIZER, script, eos=BASE)
    model.generation_config.eos_token_id = configured
    assert end_tokens(model.generation_config, TOKENIZER, vocabulary(model)) == (
        [END] if configured is None else [BASE, END]
    )


def test_an_answer_ends_by_either_also_by_a_schema() -> None:
    ids = ids_of(TOKENIZER, "Ċ", "Hello", "<|im_end|>")
    digits = ids_of(TOKENIZER, "1")
    either = {ids[0]: [ids[1]], ids[1]: [END], digits[0]: [END], START: [BASE]}
    with scripted_engine(TOKENIZER, either, eos=BASE) as engine:
        for prompt, tokens in (([ids[0]], 2), ([START], 1)):
            last = engine.wait(engine.submit(prompt, max_new_tokens=30))[-1]
            assert last.data == {"reason": "stop", "completion_tokens": tokens}
        held = engine.submit(
            ids, schema=json.dumps({"const": 1}), max_new_tokens=9, sampling=SamplingParams(temperature=0)
        )
        assert (engine.text(held), engine.wait(held)[-1].data["reason"]) == ("1", "stop")


def test_an_end_token_that_the_model_does_not_have_is_none() -> None:
    model = scripted_model(TOKENIZER, {}, eos=BASE, rows=END)
    assert end_tokens(model.generation_config, TOKENIZER, vocabulary(model)) == [BASE]

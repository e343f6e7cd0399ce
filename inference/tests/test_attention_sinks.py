"""The first token of a text that gathers the attention of the others: it is told by its length, and left out."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.broker.messages import ReadingMessage, TextPrompt
from inference.demo.tiny import FILES
from inference.engine.detokenizer import TokenTexts
from inference.engine.reading.sinks import first_is_sink, plain_text_has_sink
from inference.worker.reading.texts import ReadTexts
from steering.spec import SAEPlace


class Streams:
    """A model whose residual streams have these lengths after each block."""

    device = torch.device("cpu")

    def __init__(self, *norms: float) -> None:
        self._stream = torch.tensor(norms).unsqueeze(1) * torch.eye(4)[0]

    def __call__(self, ids: Any, output_hidden_states: bool) -> Any:
        assert output_hidden_states
        return SimpleNamespace(hidden_states=[torch.zeros(1, *self._stream.shape), self._stream[None]])


def is_sink(*norms: float) -> bool:
    model: Any = Streams(*norms)
    return first_is_sink(model, range(len(norms)))


def test_a_first_token_that_is_many_times_as_long_as_the_others_is_a_sink() -> None:
    assert is_sink(1000.0, 20.0, 30.0, 25.0)
    assert not is_sink(90.0, 20.0, 30.0, 25.0)
    assert not is_sink(20.0, 1000.0, 30.0, 25.0)
    assert not is_sink(1000.0, 20.0, 30.0), "too short to tell"


def test_the_grammar_model_has_none() -> None:
    model = AutoModelForCausalLM.from_pretrained(FILES / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(FILES / "model")
    assert not first_is_sink(model, tokenizer("The whale dives. The fox runs in the snow.")["input_ids"])
    assert not plain_text_has_sink(model, tokenizer, len(tokenizer), 512)


@pytest.mark.parametrize("sink", [True, False])
def test_a_sink_counts_as_little_as_a_special_token(sink: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(FILES / "model")
    texts = ReadTexts(tokenizer, TokenTexts(tokenizer.backend_tokenizer), 10_000, 512, first_is_sink=sink)
    prompt = TextPrompt(text="The whale dives.")
    place = SAEPlace("/s", "", "")
    address: dict[str, Any] = {
        "request_id": "r",
        "inbox": "i",
        "version": "v",
        "deadline": 1.0,
        "prompts": [prompt],
        "place": place,
    }
    skipping, all_of = (
        texts.of(ReadingMessage(**address, skip_special=skip, answer_only=False))[0] for skip in (True, False)
    )
    assert skipping.counts[0] is not sink
    assert all(skipping.counts[1:])
    assert all(all_of.counts), "who asks for special tokens gets all"
    assert texts.whole(prompt).counts == skipping.counts

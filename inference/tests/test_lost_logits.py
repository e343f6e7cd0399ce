"""A model whose logits are no numbers has no next token: such a request fails, and those beside it go on."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from inference.interface import SamplingParams
from inference.tests.engines import GREEDY, Collected, GivenDirections, run_engine
from inference.tests.test_engine_steering import prompts, spec
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer

D_MODEL = tiny_model().config.hidden_size


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    """Feature 3 steers by a vector that is too large for the model's numbers; the others as usual."""
    sae = tiny_sae(tmp_path_factory.mktemp("sae"))
    # In the dtype of the model it is infinite, as a large one is in float16.
    vectors = {3: torch.full((D_MODEL,), 1e300, dtype=torch.float64), 5: torch.zeros(D_MODEL)}
    weights = GivenDirections(lambda part: vectors[part.changes[0].index])
    with run_engine(tiny_model(), tiny_tokenizer(), sae, weights=weights) as engine:
        yield engine


@pytest.mark.parametrize("sampling", [GREEDY, SamplingParams(temperature=1.0, top_p=0.9, presence_penalty=0.5)])
@pytest.mark.parametrize("top_logprobs", [None, 5])
def test_a_request_whose_logits_are_not_finite_fails_and_those_beside_it_do_not(
    collected: Collected, sampling: SamplingParams, top_logprobs: Any
) -> None:
    prompt, other = prompts(2, 20)
    [alone] = collected.greedy([(other, None)], new_tokens=12)
    lost = collected.submit(prompt, spec({3: 1.0}), sampling=sampling, top_logprobs=top_logprobs)
    beside = collected.submit(other, spec({5: 1.0}), max_new_tokens=12)
    [failed] = collected.wait(lost)
    assert (failed.kind, failed.data["code"]) == ("failed", "engine_error")
    assert failed.data["message"] == "the model's logits are not finite under this steering: try smaller strengths"
    assert collected.tokens(beside) == alone
    assert collected.greedy([(prompt, None)], new_tokens=4)


def test_nothing_that_a_lost_request_left_in_the_cache_reaches_those_after_it(collected: Collected) -> None:
    """Requests of unlike lengths decode together: the shorter one's keys are padded."""
    [short], [long] = prompts(1, 40), prompts(1, 90)
    alone = [collected.greedy([(prompt, None)], new_tokens=20)[0] for prompt in (short, long)]
    lost = [collected.submit(prompt, spec({3: 1.0}), max_new_tokens=4) for prompt in prompts(16, 480)]
    assert {collected.wait(one)[-1].kind for one in lost} == {"failed"}  # they had nearly all blocks of the cache
    assert collected.greedy([(short, None), (long, None)], new_tokens=20) == alone


def test_a_lost_request_that_was_held_to_a_schema_fails_alone(collected: Collected) -> None:
    [prompt] = prompts(1, 20)
    schema = '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}'
    lost = collected.submit(prompt, spec({3: 1.0}), schema=schema)
    beside = collected.submit(prompt, spec({5: 1.0}), schema=schema, max_new_tokens=60)
    assert collected.wait(lost)[-1].data["code"] == "engine_error"
    assert collected.wait(beside)[-1].kind == "finished"
    assert collected.greedy([(prompt, None)], new_tokens=4)

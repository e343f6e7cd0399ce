"""Every request of a batch is steered as it would be alone: the engine against `model.generate` with a plain hook."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inference.interface import ContextLengthExceeded
from inference.tests.engines import Collected, GivenDirections, run_engine
from inference.tests.tiny import D_MODEL, tiny_model, tiny_sae, tiny_tokenizer
from steering.formats import BrokenDecoder
from steering.spec import SteeringSpec


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sae(tmp_path_factory.mktemp("sae"))


@pytest.fixture(scope="module")
def collected(sae: Path) -> Iterator[Collected]:
    with run_engine(tiny_model(), tiny_tokenizer(), sae) as engine:
        yield engine


def spec(strengths: dict[int, float], layer: int = 1) -> SteeringSpec | None:
    return SteeringSpec.build("tiny-sae", "f" * 64, layer, f"blocks.{layer}.hook_resid_post", strengths)


def reference(sae: Path, prompt: list[int], strengths: dict[int, float], new_tokens: int) -> list[int]:
    """Greedy tokens of plain `generate`, with a plain hook that adds the same vector everywhere."""
    model = tiny_model()
    decoder = load_file(sae / "sae_weights.safetensors")["W_dec"]
    vector = sum((strength * decoder[index] for index, strength in strengths.items()), torch.zeros(decoder.size(1)))
    model.model.layers[1].register_forward_hook(lambda _module, _args, output: output + vector)
    ids = torch.tensor([prompt])
    answer: torch.Tensor = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=1,
        pad_token_id=1,
    )
    return answer[0, len(prompt) :].tolist()


def prompts(count: int, length: int) -> list[list[int]]:
    rng = random.Random(0)
    return [[rng.randrange(2, 320) for _ in range(length)] for _ in range(count)]


STEERINGS = [{}, {3: 2.0}, {5: -2.0, 9: 1.5}, {60: 3.0}]


def test_16_requests_with_different_steerings_get_what_each_gets_alone(collected: Collected, sae: Path) -> None:
    jobs = [(prompt, STEERINGS[i % 4] | ({i: 0.5} if i % 4 else {})) for i, prompt in enumerate(prompts(16, 20))]
    together = collected.greedy([(prompt, spec(strengths)) for prompt, strengths in jobs], new_tokens=24)
    alone = [reference(sae, prompt, strengths, 24) for prompt, strengths in jobs]
    assert together == alone
    assert len({tuple(answer) for answer in together}) == 16


def test_steering_changes_the_answer_to_one_prompt(collected: Collected) -> None:
    [prompt] = prompts(1, 20)
    answers = collected.greedy([(prompt, spec(strengths)) for strengths in STEERINGS], new_tokens=16)
    assert len({tuple(answer) for answer in answers}) == 4


def test_a_long_prompt_under_three_steerings_in_turn_never_reuses_the_others_cache(
    collected: Collected, sae: Path
) -> None:
    [prompt] = prompts(1, 650)
    for strengths in [*STEERINGS[1:], *STEERINGS[:2]]:
        [answer] = collected.greedy([(prompt, spec(strengths))], new_tokens=12)
        assert answer == reference(sae, prompt, strengths, 12)


def test_ten_profiles_in_random_order_on_one_long_prompt_get_what_each_gets_alone(
    collected: Collected, sae: Path
) -> None:
    [prompt] = prompts(1, 420)
    profiles = [{i: 1.0 + i / 4, 63 - i: -1.5} for i in range(10)]
    expected = [reference(sae, prompt, strengths, 6) for strengths in profiles]
    order = random.Random(1).choices(range(10), k=30)
    assert len(set(order)) >= 9
    answers = collected.greedy([(prompt, spec(profiles[i])) for i in order], new_tokens=6)
    assert answers == [expected[i] for i in order]


def test_the_same_steering_shares_the_cache_of_a_long_prompt(collected: Collected) -> None:
    [prompt] = prompts(1, 700)
    first, second, other = (
        collected.submit(prompt, spec({3: strength}), max_new_tokens=4) for strength in (2.5, 2.5, 2.25)
    )
    collected.wait(first)
    again = collected.submit(prompt, spec({3: 2.5}), max_new_tokens=4)
    assert collected.tokens(first) == collected.tokens(second) == collected.tokens(again)
    assert collected.cached_tokens(again) > 600
    assert collected.cached_tokens(other) == 0


def test_a_request_beyond_the_context_is_refused_and_says_by_how_much(collected: Collected) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"maximum context length is 2048 tokens.*2049 tokens"):
        collected.greedy([(prompts(1, 2000)[0], None)], new_tokens=49)


def test_a_place_that_is_not_there_is_an_error_each_time_and_costs_no_row(sae: Path) -> None:
    weights = GivenDirections(lambda _part: torch.linspace(-9, 9, D_MODEL))
    with run_engine(tiny_model(), tiny_tokenizer(), sae, weights=weights) as engine:
        for _ in range(300):  # more than the engine has rows
            with pytest.raises(IndexError):
                engine.submit([5, 6, 7], spec({1: 1.0}, layer=7))
        [plain, steered] = engine.greedy([([5, 6, 7], None), ([5, 6, 7], spec({3: 1.0}))], new_tokens=8)
    assert plain != steered


def test_a_layer_that_the_sae_is_not_at_is_refused(collected: Collected) -> None:
    with pytest.raises(BrokenDecoder, match="has no direction at layer 2: expected one of 1"):
        collected.submit([5, 6, 7], spec({1: 1.0}, layer=2))

"""The batch sampler against transformers' own processors, and the distribution of its seeded noise."""

import pytest
import torch
from torch import Tensor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inference.engine.sampling.choice import FEW, Filters, Noise, perturbed
from inference.engine.sampling.sampler import BatchSampler
from inference.engine.sampling.token_tables import TokenTables
from inference.interface import SamplingParams

VOCAB = 50


def logits(rows: int) -> Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(0)) * 3


def chosen(params: list[SamplingParams], scores: Tensor, positions: list[int]) -> Tensor:
    sampler = BatchSampler(TokenTables(1, scores.size(-1), torch.device("cpu")))
    last = torch.zeros(len(params), dtype=torch.int64)
    return sampler(last, scores, sampler._columns(params, [[position, 0, 0] for position in positions]))


def reference_support(params: SamplingParams, scores: Tensor) -> Tensor:
    """The tokens that transformers' warpers leave, in the order in which `generate` applies them."""
    scores = TemperatureLogitsWarper(params.temperature)(None, scores)
    if params.top_k:
        scores = TopKLogitsWarper(params.top_k)(None, scores)
    if params.top_p < 1:
        scores = TopPLogitsWarper(params.top_p)(None, scores)
    if params.min_p:
        scores = MinPLogitsWarper(params.min_p)(None, scores)
    return torch.isfinite(scores)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0.7),
        SamplingParams(top_k=7),
        SamplingParams(top_p=0.8),
        SamplingParams(min_p=0.1),
        SamplingParams(temperature=1.4, top_k=20, top_p=0.9, min_p=0.02),
        SamplingParams(top_p=0.01),
        SamplingParams(top_k=1000),
    ],
)
def test_the_allowed_tokens_are_those_of_transformers(params: SamplingParams) -> None:
    scores = logits(8)
    ours = torch.isfinite(chosen([params] * 8, scores, list(range(8))))
    assert torch.equal(ours, reference_support(params, scores))


def test_each_row_is_sampled_by_its_own_parameters() -> None:
    mixed = [SamplingParams(temperature=0), SamplingParams(top_k=3, seed=5), SamplingParams(top_p=0.5, seed=6)]
    scores = logits(3)
    together = chosen(mixed, scores, [4, 5, 6])
    alone = [chosen([params], scores[i : i + 1], [4 + i])[0] for i, params in enumerate(mixed)]
    assert torch.equal(together, torch.stack(alone))


def test_temperature_zero_is_greedy() -> None:
    scores = logits(4)
    assert torch.equal(chosen([SamplingParams(temperature=0)] * 4, scores, [0] * 4), scores)


def test_a_seeded_sample_follows_the_softmax() -> None:
    """Chi-squared over 20,000 draws of 10 tokens: 27.9 is the 0.1 % point at 9 degrees of freedom."""
    draws = 20_000
    row = torch.linspace(-1, 1.5, 10)
    params = [SamplingParams(seed=seed * 7919) for seed in range(draws)]
    counts = chosen(params, row.expand(draws, 10), [3] * draws).argmax(-1).bincount(minlength=10)
    expected = row.softmax(-1) * draws
    assert ((counts - expected) ** 2 / expected).sum() < 27.9


def test_positions_of_one_seed_are_independent() -> None:
    """The same over 20,000 positions of one seed, and of pairs of neighbours (4 x 4 cells, 9 degrees of freedom)."""
    positions = torch.arange(20_001).unsqueeze(-1)
    seed = torch.full_like(positions, 42)
    winners = Noise(seed, torch.zeros_like(seed), positions).at(torch.arange(4)).argmax(-1)
    pairs = (winners[:-1] * 4 + winners[1:]).bincount(minlength=16)
    assert ((pairs - 1250.0) ** 2 / 1250).sum() < 37.7  # 0.1 % at 15 degrees of freedom


def test_seeds_of_64_bits_differ_in_their_high_half() -> None:
    low = chosen([SamplingParams(seed=1)], logits(1), [0])
    high = chosen([SamplingParams(seed=1 + (1 << 40))], logits(1), [0])
    assert not torch.equal(low, high)


FILTERED = [
    SamplingParams(top_p=0.9, seed=1),
    SamplingParams(min_p=0.05, seed=2),
    SamplingParams(top_k=40, seed=3),
    SamplingParams(top_k=FEW, seed=4),
    SamplingParams(top_k=FEW + 1, top_p=0.99, seed=5),
    SamplingParams(temperature=1.5, top_p=0.999, seed=6),
    SamplingParams(temperature=0.2, top_p=0.5, min_p=0.1, seed=7),
]


@pytest.mark.parametrize("spread", [0.1, 3.0, 20.0], ids=["flat", "usual", "peaked"])
@pytest.mark.parametrize("ties", [False, True], ids=["no ties", "ties"])
def test_the_few_most_probable_tokens_give_what_a_sort_of_the_whole_vocabulary_gives(spread: float, ties: bool) -> None:
    vocab, rows = 5000, len(FILTERED)
    scores = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(1)) * spread
    scores = scores.round(decimals=1) if ties else scores
    ours = chosen(FILTERED, scores, list(range(rows)))

    def column(name: str, dtype: torch.dtype) -> Tensor:
        return torch.tensor([[getattr(params, name)] for params in FILTERED], dtype=dtype)

    filters = Filters(column("top_p", torch.float32), column("min_p", torch.float32), column("top_k", torch.int64))
    noise = Noise(column("seed", torch.int64), torch.zeros(rows, 1, dtype=torch.int64), torch.arange(rows)[:, None])
    whole = perturbed(scores / column("temperature", torch.float32), filters, noise)
    assert torch.equal(ours.argmax(-1), whole.argmax(-1))
    if not ties:  # of equal scores at the edge of the nucleus, either may pass
        assert torch.equal(ours, whole)


def test_a_row_of_a_large_vocabulary_is_sampled_as_it_is_alone() -> None:
    params = [*FILTERED, SamplingParams(seed=8), SamplingParams(temperature=0)]
    scores = torch.randn(len(params), 50_000, generator=torch.Generator().manual_seed(2)) * 4
    together = chosen(params, scores, [9] * len(params))
    for number, one in enumerate(params):
        assert torch.equal(chosen([one], scores[number : number + 1], [9])[0], together[number])

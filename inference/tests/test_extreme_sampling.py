"""The most extreme numbers that a request may have: each is the choice that it means in exact arithmetic, or a 400."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from inference.engine.sampling.sampler import BatchSampler
from inference.engine.sampling.token_tables import TokenTables
from inference.interface import SamplingParams
from inference.openai.errors import OpenAIError
from inference.openai.requests import ChatRequest

VOCAB = 40
PLAIN = SamplingParams(seed=3)


def chosen(params: SamplingParams, scores: torch.Tensor) -> int:
    tables = TokenTables(2, VOCAB, torch.device("cpu"))
    slot = tables.acquire(params, [7, 8])
    sampler = BatchSampler(tables)
    columns = sampler._columns([params], [[5, slot, 0]])
    return int(sampler(torch.tensor([8]), scores.unsqueeze(0), columns).argmax(-1))


def scores(largest: float = 30.0) -> torch.Tensor:
    made = torch.randn(VOCAB, generator=torch.Generator().manual_seed(1)) * largest / 10
    made[17] = largest
    return made


@pytest.mark.parametrize("largest", [1e-30, 30.0, 1e4, 1e30])
@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, 1e-45, 1e-39, 1e-38, 1e-30, 1e-10, 9e-6])
def test_the_coldest_temperatures_take_the_most_probable_token(temperature: float, largest: float) -> None:
    assert chosen(replace(PLAIN, temperature=temperature), scores(largest)) == 17


@pytest.mark.parametrize("top_p", [0.0, 5e-324, 1e-300, 1e-45, 1e-39, 1e-20])
def test_the_smallest_top_p_takes_the_most_probable_token(top_p: float) -> None:
    assert chosen(replace(PLAIN, top_p=top_p), scores()) == 17


@pytest.mark.parametrize("tiny", [5e-324, 1e-300, 1e-45, 1e-39, -1e-300])
def test_the_smallest_penalties_and_filters_change_nothing(tiny: float) -> None:
    flat = scores(1.0)
    plain = chosen(PLAIN, flat)
    for name in ("presence_penalty", "frequency_penalty"):
        assert chosen(replace(PLAIN, **{name: tiny}), flat) == plain  # type: ignore[arg-type]
    assert chosen(replace(PLAIN, min_p=abs(tiny)), flat) == plain
    assert chosen(replace(PLAIN, logit_bias=((4, tiny),)), flat) == plain
    assert chosen(replace(PLAIN, repetition_penalty=1 + tiny), flat) == plain


@pytest.mark.parametrize("top_k", [1, VOCAB, VOCAB + 1, 2**31 - 1])
def test_the_largest_top_k_filters_nothing(top_k: int) -> None:
    assert chosen(replace(PLAIN, top_k=top_k), scores(1.0)) == (17 if top_k == 1 else chosen(PLAIN, scores(1.0)))


@pytest.mark.parametrize("penalty", [0.01, 10.0])
def test_the_outermost_repetition_penalties_give_numbers(penalty: float) -> None:
    params = replace(PLAIN, repetition_penalty=penalty, logit_bias=((7, 100.0), (8, -100.0)), temperature=1e-6)
    assert chosen(params, scores()) == 7


BODY = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "%s": %s}'


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (name, value)
            for name in ("temperature", "top_p", "min_p")
            for value in ("1e400", "-1e-300", "NaN", "-Infinity")
        ),
        *(("repetition_penalty", value) for value in ("0", "1e-300", "1e-45", "0.009", "1e38", "1e400", "NaN")),
        *(("presence_penalty", value) for value in ("1e38", "1e400", "-Infinity", "2.0001")),
        *(
            ("logit_bias", value)
            for value in ('{"1": 1e38}', '{"1": 1e400}', '{"1": NaN}', '{"1": "1"}', '{"1": true}')
        ),
        *(("top_k", value) for value in ("-2", "2147483648", "1e400", "1.5", "99999999999999999999999")),
        *(("seed", value) for value in ("1e400", "9223372036854775808", "-9223372036854775809")),
        *(("n", value) for value in ("0", "1e400", "-1")),
        *(("max_tokens", value) for value in ("-2", "1e400", "1.5")),
    ],
)
def test_numbers_beyond_their_bounds_are_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(OpenAIError) as refused:
        ChatRequest.parse(BODY % (field.encode(), value.encode()))
    told: Any = refused.value
    assert told.status == 400
    assert told.param is None or told.param.startswith(field)


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63), -1, 0])
def test_every_seed_can_be_followed_by_those_of_the_other_choices(seed: int) -> None:
    assert 0 <= chosen(replace(PLAIN, seed=seed + 15), scores(1.0)) < VOCAB

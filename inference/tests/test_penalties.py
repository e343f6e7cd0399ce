"""Penalties, biases and log-probabilities: alone against the naive way, and in a batch of other requests."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor

from inference.interface import InvalidSampling, SamplingParams
from inference.tests.engines import ON_VLLM, Collected, not_on_vllm, run_engine
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer

PROMPT = [5, 17, 200, 5, 33, 8]
NEW = 24


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path_factory.mktemp("sae"))) as engine:
        yield engine


def naive(params: SamplingParams, prompt: list[int] = PROMPT) -> list[int]:
    """Greedy, one whole forward pass a token, each rule written out."""
    model, answer = tiny_model(), list[int]()
    for _ in range(NEW):
        with torch.no_grad():
            scores = model(torch.tensor([prompt + answer])).logits[:, -1].float()
        rule = RepetitionPenaltyLogitsProcessor(params.repetition_penalty)
        scores = rule(torch.tensor([prompt + answer]), scores)[0]
        for token in set(answer):
            scores[token] -= params.frequency_penalty * answer.count(token) + params.presence_penalty
        for token, bias in params.logit_bias:
            scores[token] += bias
        answer.append(int(scores.argmax()))
        if answer[-1] == 1:
            break
    return answer


CASES = [
    SamplingParams(temperature=0, presence_penalty=2.0),
    SamplingParams(temperature=0, frequency_penalty=1.5),
    SamplingParams(temperature=0, repetition_penalty=1.8),
    SamplingParams(temperature=0, repetition_penalty=0.7, frequency_penalty=-0.2),
    SamplingParams(temperature=0, logit_bias=((40, 6.0), (41, -100.0), (0, 1.0))),
    # vLLM adds the bias before it divides by the repetition penalty.
    SamplingParams(
        temperature=0, presence_penalty=1.0, repetition_penalty=1.2, logit_bias=() if ON_VLLM else ((9, 5.0),)
    ),
    SamplingParams(temperature=0),
]


def test_each_row_of_a_batch_has_its_own_penalties(collected: Collected) -> None:
    ids = [collected.submit(PROMPT, sampling=params, max_new_tokens=NEW) for params in CASES]
    answers = [collected.tokens(request_id) for request_id in ids]
    assert answers == [naive(params) for params in CASES]
    assert len({tuple(answer) for answer in answers}) >= 4


def test_a_slot_is_clean_for_its_next_request(collected: Collected) -> None:
    for _ in range(3):
        for params, prompt in ((CASES[2], PROMPT), (CASES[5], [90, 91, 92]), (CASES[0], PROMPT)):
            answer = collected.tokens(collected.submit(prompt, sampling=params, max_new_tokens=NEW))
            assert answer == naive(params, prompt)


@not_on_vllm  # which allows penalties up to 2, as the web does
def test_a_sampled_answer_is_penalised_too(collected: Collected) -> None:
    free, bound = (
        collected.tokens(
            collected.submit(PROMPT, sampling=SamplingParams(seed=3, presence_penalty=p), max_new_tokens=60)
        )
        for p in (0.0, 100.0)
    )
    assert len(set(bound)) == len(bound)
    assert len(set(free)) < len(free)


@pytest.mark.parametrize("bias", [((320, 1.0),), ((-1, 1.0),), tuple((i, 1.0) for i in range(301))])
def test_a_bias_that_is_none_is_refused(collected: Collected, bias: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(InvalidSampling, match="logit_bias"):
        collected.submit(PROMPT, sampling=SamplingParams(logit_bias=bias))


def reference_logprobs(prompt: list[int], answer: list[int]) -> Tensor:
    with torch.no_grad():
        logits = tiny_model()(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    expected: Tensor = logits.float().log_softmax(-1)
    return expected


def test_log_probabilities_are_the_models_own(collected: Collected) -> None:
    others = [collected.submit([7, 8, i], max_new_tokens=30) for i in range(2, 6)]
    for sampling in (SamplingParams(temperature=0), SamplingParams(seed=1), SamplingParams(seed=2, temperature=0.3)):
        request_id = collected.submit(PROMPT, sampling=sampling, max_new_tokens=12, top_logprobs=5)
        answer = collected.tokens(request_id)
        expected = reference_logprobs(PROMPT, answer)
        deltas = [event.data for event in collected.wait(request_id) if event.kind == "delta"]
        entries = [entry for delta in deltas for entry in delta["logprobs"]]
        assert len(entries) == len(answer)
        for i, (token, entry) in enumerate(zip(answer, entries, strict=True)):
            assert entry["logprob"] == pytest.approx(max(float(expected[i, token]), -9999.0), abs=1e-3)
            top = [other["logprob"] for other in entry["top_logprobs"]]
            assert top == pytest.approx(expected[i].topk(5).values.tolist(), abs=1e-3)
            assert top == sorted(top, reverse=True)
            assert not math.isnan(entry["logprob"])
    for request_id in others:
        assert "logprobs" not in collected.wait(request_id)[1].data


def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(collected: Collected) -> None:
    bias = tuple((i, 3.0) for i in range(2, 300))
    request_id = collected.submit(
        PROMPT, sampling=SamplingParams(seed=5, logit_bias=bias), max_new_tokens=40, top_logprobs=0
    )
    deltas = [event.data for event in collected.wait(request_id) if event.kind == "delta"]
    entries = [entry for delta in deltas for entry in delta["logprobs"] if entry["token"] != "</s>"]
    raw = b"".join(bytes(entry["bytes"]) for entry in entries)
    assert raw.decode(errors="replace").startswith(collected.text(request_id).rstrip("\ufffd"))
    assert all(entry["top_logprobs"] == [] for entry in entries)

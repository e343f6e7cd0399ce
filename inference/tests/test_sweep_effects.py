"""The effects of a steering, beside the formulas written out."""

import math
from typing import Any

import pytest

from inference.sweeps.effects import effects, is_broken, perplexity, repeats


def naive_repeats(text: str) -> float:
    words, seen, again = text.split(), list[list[str]](), 0
    for start in range(len(words) - 3):
        gram = words[start : start + 4]
        again += gram in seen
        seen.append(gram)
    return again / len(seen) if seen else 0.0


@pytest.mark.parametrize("text", ["", "a b c", "a b c d", "a a a a a a", "a b c d a b c d a", "x y " * 20 + "z"])
def test_repeats_are_the_share_of_4_grams_that_occurred_before(text: str) -> None:
    assert repeats(text) == pytest.approx(naive_repeats(text))


def test_the_perplexity_is_the_inverse_geometric_mean_of_the_probabilities() -> None:
    probabilities = [0.5, 0.1, 0.25, 0.9]
    expected = math.prod(probabilities) ** (-1 / len(probabilities))
    assert perplexity([math.log(one) for one in probabilities]) == pytest.approx(expected)
    assert perplexity([]) is None
    assert perplexity([-1e6]) == math.exp(700)


def cell(value_at: int, prompt_at: int, logprobs: list[float], word: float | None, repeated: float = 0.0) -> Any:
    figures = {"tokens": len(logprobs), "perplexity": perplexity(logprobs), "repeats": repeated}
    return {"value_at": value_at, "prompt_at": prompt_at, "error": "", "words": [word], **figures}


FAILED = {"value_at": 1, "prompt_at": 0, "error": "x", "words": [], "tokens": 0, "perplexity": None, "repeats": None}


def test_a_value_has_the_perplexity_of_all_tokens_together_and_means_over_answers_and_prompts() -> None:
    cells = [
        *[cell(0, 0, [-1.0, -2.0], -3.0)] * 3,
        cell(1, 0, [-1.0], -1.0, 0.0),
        cell(1, 0, [-5.0, -3.0, -1.0], -1.0, 0.05),  # another seed of the prompt
        cell(1, 1, [-2.0], -7.0, 0.1),
        FAILED,
    ]
    zero, one = effects([0.0, 1.0], 1, cells)
    assert one.perplexity == pytest.approx(math.exp((1 + 5 + 3 + 1 + 2) / 5))
    assert one.repeats == pytest.approx(0.05)
    assert one.words == [-4.0]
    assert (one.cells, one.failed) == (4, 1)
    assert zero.perplexity == pytest.approx(math.exp(1.5))
    assert zero.is_broken is None
    assert one.is_broken is True  # exp(2.4) is more than 1.6 exp(1.5)


@pytest.mark.parametrize(
    ("reference", "answers", "failed", "verdict"),
    [(3, 1, 0, None), (3, 2, 0, None), (3, 3, 0, True), (3, 2, 4, None), (2, 3, 0, None)],
)
def test_a_value_is_judged_by_at_least_three_answers_without_an_error_and_as_many_unsteered_ones(
    reference: int, answers: int, failed: int, verdict: bool | None
) -> None:
    cells = [cell(0, 0, [-1.0], None)] * reference + [cell(1, 0, [-9.0], None)] * answers + [FAILED] * failed
    _, one = effects([0.0, 1.0], 1, cells)
    assert one.is_broken is verdict
    assert one.is_judged is (answers >= 3)


def test_three_answers_that_repeat_themselves_are_broken_without_a_reference() -> None:
    [one] = effects([1.0], 0, [cell(0, 0, [-1.0], None, 0.5)] * 3)
    assert one.is_broken is True


def test_a_value_without_answers_has_no_effects() -> None:
    [one] = effects([2.0], 2, [])
    assert (one.cells, one.perplexity, one.repeats, one.words, one.is_broken) == (0, None, None, [None, None], None)


@pytest.mark.parametrize(
    ("own", "repeated", "broken"),
    [(16.0, 0.0, False), (16.1, 0.0, True), (10.0, 0.08, False), (10.0, 0.081, True), (None, None, None)],
)
def test_a_text_is_broken_by_its_perplexity_or_its_repeats(
    own: float | None, repeated: float | None, broken: bool | None
) -> None:
    assert is_broken(own, repeated, 10.0) is broken

"""The features and strengths of each theme: by contrast of answers, then by measuring what they do to answers.

The words and questions of the judge have no part in it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.demo.smollm2.answers import Answerer, Ask
from inference.demo.smollm2.measure import Measured, measured, perplexity
from inference.demo.smollm2.themes import SEARCH_PROMPTS
from inference.demo.smollm2.words import ThemeWords
from steering.spec import Positions, SteeringSpec

COUNTS = (1, 4, 10)
"""Numbers of features that are tried."""
FIRST, TRIES = 0.3, 4
"""The first length of the steering vector, as a share of the residual stream's, and how many lengths are tried."""
POSITIONS = Positions("prompt")
"""The tokens that the profiles steer: the answer comes from a steered prompt, and reads more fluently than a steered
answer that is as much on the theme."""
DENSEST = 0.2
"""A feature that fires at a larger share of the other answers' tokens is of no theme."""
MOST_PERPLEXITY, MOST_REPEATS = 1.5, 0.08
"""What the search allows: the perplexity as a multiple of the unsteered one. The judge allows a little more."""
TOKENS = 48

SpecOf = Callable[[Mapping[int, float]], SteeringSpec | None]
"""A function from strengths of features to a steering by them."""


@dataclass(frozen=True)
class Contrast:
    """Mean activations, (d_sae,), of a theme's answers and of all others, and the share of tokens of the others."""

    here: Tensor
    there: Tensor
    density: Tensor

    def ranked(self) -> list[tuple[int, float]]:
        """Features and how much more active they are in the theme, those first that are so most."""
        gaps = torch.where(self.density <= DENSEST, self.here - self.there, 0.0)
        values, indices = gaps.topk(max(COUNTS))
        return [(int(index), float(value)) for value, index in zip(values, indices, strict=True) if value > 0]


@dataclass(frozen=True)
class Candidate:
    """Strengths, and what they did to answers; `excess` is the perplexity as a multiple of the unsteered one."""

    strengths: Mapping[int, float]
    count: int
    length: float
    measured: Measured
    excess: float

    @property
    def score(self) -> float:
        """The share on the theme; below 0 where the answers are too broken."""
        return self.measured.on_theme if is_whole(self.measured, self.excess) else -self.excess


class Search:
    """Searches strengths of the features of one SAE, whose decoder is `decoder`, (d_sae, d_model)."""

    def __init__(
        self, answerer: Answerer, plain: PreTrainedModel, decoder: Tensor, norm: float, spec_of: SpecOf
    ) -> None:
        self._answerer, self._plain, self._decoder = answerer, plain, decoder
        self._norm, self._spec_of = norm, spec_of
        self._unsteered = perplexity(plain, answerer.answers(asks(None)))

    def best(self, contrast: Contrast, words: ThemeWords) -> Candidate | None:
        """The candidate with the best score, or None where no feature is more active in the theme.

        For each number of features the length grows where the answers are whole, and shrinks where they are broken, by
        half as much each time.
        """
        ranked = contrast.ranked()
        lengths = {count: FIRST for count in COUNTS if count <= len(ranked)}
        found: list[Candidate] = []
        for attempt in range(1, TRIES + 1):
            some = self._measure(ranked, list(lengths.items()), words)
            for one in some:
                lengths[one.count] += (FIRST if one.score >= 0 else -FIRST) / 2**attempt
            found += some
        return max(found, key=lambda candidate: candidate.score, default=None)

    def _measure(
        self, ranked: Sequence[tuple[int, float]], shapes: Sequence[tuple[int, float]], words: ThemeWords
    ) -> list[Candidate]:
        """A candidate for each number of features and length; all their answers are made in one batch."""
        strengths = [self._strengths(ranked[:count], length) for count, length in shapes]
        answers = self._answerer.answers([ask for one in strengths for ask in asks(self._spec_of(one))])
        size = len(SEARCH_PROMPTS)
        parts = [measured(answers[start : start + size], words, self._plain) for start in range(0, len(answers), size)]
        return [
            Candidate(one, *shape, done, done.perplexity / self._unsteered)
            for one, shape, done in zip(strengths, shapes, parts, strict=True)
        ]

    def _strengths(self, ranked: Sequence[tuple[int, float]], length: float) -> dict[int, float]:
        """Strengths in the ratio of the gaps, whose sum of directions is `length` times the residual stream long."""
        indices = torch.tensor([index for index, _ in ranked])
        gaps = torch.tensor([gap for _, gap in ranked])
        sum_of = (gaps.unsqueeze(1) * self._decoder[indices]).sum(0).norm()
        factor = length * self._norm / float(sum_of)
        return {index: round(factor * gap, 2) for index, gap in ranked}


def is_whole(found: Measured, excess: float) -> bool:
    """True where answers of `excess` times the unsteered perplexity are not broken."""
    return excess <= MOST_PERPLEXITY and found.repeats <= MOST_REPEATS


def asks(steering: SteeringSpec | None) -> list[Ask]:
    """The neutral prompts of the search under a steering."""
    return [Ask(prompt, steering, seed, TOKENS) for seed, prompt in enumerate(SEARCH_PROMPTS)]

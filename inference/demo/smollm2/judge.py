"""The judge of the profiles: other questions, other answers and other word lists than those of the search."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from inference.demo.smollm2.answers import Answer, Answerer, Ask
from inference.demo.smollm2.measure import Measured, measured
from inference.demo.smollm2.themes import JUDGE_PROMPTS
from inference.demo.smollm2.words import ThemeWords
from steering.spec import SteeringSpec

SHIPPED, MOST_PERPLEXITY, MOST_UNSTEERED = 0.40, 1.6, 0.15
"""A profile is shipped that reaches this share on its theme, at most so many times the unsteered perplexity, where at
most so large a share of the unsteered answers is on the theme."""
TOKENS = 64
SEEDS = (1000, 2000, 3000)
"""Each prompt is asked with each of these, and its number: of 50 answers alone a share is uncertain by 7 points."""


@dataclass(frozen=True)
class Judged:
    """What a profile does to the answers to the judge's prompts, and the unsteered share on its theme."""

    steered: Measured
    unsteered: Measured
    answers: Sequence[Answer]

    @property
    def ratio(self) -> float:
        """The perplexity as a multiple of the unsteered one."""
        return self.steered.perplexity / self.unsteered.perplexity

    @property
    def is_shipped(self) -> bool:
        enough = self.steered.on_theme >= SHIPPED and self.unsteered.on_theme <= MOST_UNSTEERED
        return enough and self.ratio <= MOST_PERPLEXITY


class Judge:
    """Judges steerings; `plain` is a model without hooks, `words` the lists by the names of the themes."""

    def __init__(self, answerer: Answerer, plain: PreTrainedModel, words: Mapping[str, ThemeWords]) -> None:
        self._answerer, self._plain, self._words = answerer, plain, words
        answers = self._ask(None)
        self._unsteered = measured(answers, ThemeWords(frozenset(), 1), plain)
        self._texts = [answer.text for answer in answers]

    def judge(self, theme: str, steering: SteeringSpec | None) -> Judged:
        """Judge a steering to `theme`."""
        answers, words = self._ask(steering), self._words[theme]
        unsteered = replace(self._unsteered, on_theme=words.share(self._texts))
        return Judged(measured(answers, words, self._plain), unsteered, answers)

    def _ask(self, steering: SteeringSpec | None) -> list[Answer]:
        return self._answerer.answers(
            [
                Ask(prompt, steering, seed + number, TOKENS)
                for seed in SEEDS
                for number, prompt in enumerate(JUDGE_PROMPTS)
            ]
        )


def write_words(path: Path, words: Mapping[str, ThemeWords]) -> None:
    """Write the word lists of the judge."""
    found = {name: {"needed": one.needed, "words": sorted(one.words)} for name, one in words.items()}
    path.write_text(json.dumps(found, indent=1) + "\n")


def read_words(path: Path) -> dict[str, ThemeWords]:
    """The word lists that `write_words` wrote."""
    found = json.loads(path.read_text())
    return {name: ThemeWords(frozenset(one["words"]), one["needed"]) for name, one in found.items()}


def markdown(judged: Mapping[str, Judged], shown: int = 5) -> Iterator[str]:
    """The table of docs/demo.md, and the first answers under each profile."""
    yield "| profile | on the theme | unsteered | perplexity ÷ unsteered | repeated 4-grams |"
    yield "|---|---|---|---|---|"
    for name, one in judged.items():
        shares = f"{one.steered.on_theme:.0%} | {one.unsteered.on_theme:.0%}"
        yield f"| {name} | {shares} | {one.ratio:.2f} | {one.steered.repeats:.1%} |"
    for name, one in judged.items():
        yield f"\n### {name}\n"
        for answer in one.answers[:shown]:
            yield f"- *{answer.question}* {' '.join(answer.text.split())}"

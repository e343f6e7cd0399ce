"""The effects of a steering on answers, and the rule by which a text counts as broken."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GRAM = 4
MOST_PERPLEXITY = 1.6
"""Times the perplexity of the unsteered answers. Beyond it the text counts as broken."""
MOST_REPEATS = 0.08
"""The share of repeated 4-grams beyond which the text counts as broken."""
MOST_LOSS = 700.0
"""exp of more is no float."""
LEAST_ANSWERS = 3
"""Answers of a value from which its text is judged: a single answer varies too much with its seed."""


def repeats(text: str) -> float:
    """The share of a text's sequences of four words that occurred in it before; 0 for fewer than four words.

    Of n sequences with d different ones it is 1 − d/n. Words are what whitespace separates.
    """
    words = text.split()
    grams = [tuple(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def perplexity(logprobs: Sequence[float]) -> float | None:
    """exp(−1/n Σ log p) over the n log-probabilities of an answer's tokens; None without tokens.

    The log-probability of a token is that of the unsteered model, given the prompt and the answer's tokens before it.
    The token that ends the answer counts, where the model chose one.
    """
    return math.exp(min(-math.fsum(logprobs) / len(logprobs), MOST_LOSS)) if logprobs else None


@dataclass(frozen=True)
class Effects:
    """The effects of one value over its answers, as far as they are known. `cells` have ended, `failed` of them."""

    value: float
    cells: int
    failed: int
    perplexity: float | None
    """exp of the mean negative log-probability of the tokens of all answers together."""
    repeats: float | None
    """The mean over the answers."""
    words: list[float | None]
    """The log-probability of each chosen word, mean over the prompts."""
    is_broken: bool | None
    """By `is_broken`; None at 0, the reference, and where too few answers or figures are known."""

    @property
    def answers(self) -> int:
        """The answers without an error."""
        return self.cells - self.failed

    @property
    def is_judged(self) -> bool:
        """True where the value has enough answers to judge its text."""
        return self.answers >= LEAST_ANSWERS

    def as_json(self) -> dict[str, Any]:
        return {**vars(self)}


def effects(values: Sequence[float], words: int, cells: Iterable[Mapping[str, Any]]) -> list[Effects]:
    """The effects of each of `values`.

    `cells` have `value_at`, the place in `values`, `prompt_at`, `error`, `tokens`, `perplexity`, `repeats`, and
    `words`, one log-probability for each of as many chosen words.
    """
    by_value: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for cell in cells:
        by_value[cell["value_at"]].append(cell)
    zero = [one for at, value in enumerate(values) if value == 0 for one in by_value[at] if not one["error"]]
    unsteered = _perplexity(zero) if len(zero) >= LEAST_ANSWERS else None
    return [_of_value(value, words, by_value[at], unsteered) for at, value in enumerate(values)]


def _of_value(value: float, words: int, cells: Sequence[Mapping[str, Any]], unsteered: float | None) -> Effects:
    good = [cell for cell in cells if not cell["error"]]
    own, repeated = _perplexity(good), _mean(cell["repeats"] for cell in good)
    is_judged = value != 0 and len(good) >= LEAST_ANSWERS
    return Effects(
        value,
        len(cells),
        len(cells) - len(good),
        own,
        repeated,
        [_of_word(good, word) for word in range(words)],
        is_broken(own, repeated, unsteered) if is_judged else None,
    )


def is_broken(own: float | None, repeated: float | None, unsteered: float | None) -> bool | None:
    """True for a perplexity above 1.6 times that of the unsteered answers, or more than 8 % of repeated 4-grams.

    None where a figure that decides is unknown.
    """
    if repeated is not None and repeated > MOST_REPEATS:
        return True
    if own is None or unsteered is None or repeated is None:
        return None
    return own > MOST_PERPLEXITY * unsteered


def _perplexity(cells: Sequence[Mapping[str, Any]]) -> float | None:
    known = [cell for cell in cells if cell["perplexity"] is not None]
    if not (tokens := sum(cell["tokens"] for cell in known)):
        return None
    return math.exp(sum(cell["tokens"] * math.log(cell["perplexity"]) for cell in known) / tokens)


def _of_word(cells: Sequence[Mapping[str, Any]], word: int) -> float | None:
    """The mean over prompts: answers of other seeds have the same log-probability."""
    return _mean({cell["prompt_at"]: cell["words"][word] for cell in cells if cell["words"]}.values())


def _mean(figures: Iterable[float | None]) -> float | None:
    known = [one for one in figures if one is not None]
    return math.fsum(known) / len(known) if known else None

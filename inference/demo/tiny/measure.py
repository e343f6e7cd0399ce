"""The shares of answers that are on a topic, and of their sentences that the grammar accepts."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference.demo.tiny.grammar import is_well_formed, sentences, topic_of


@dataclass(frozen=True)
class Shares:
    """The share of answers on the topic and the share of their sentences that the grammar accepts, 0 to 1."""

    on_topic: float
    well_formed: float


def shares(answers: Sequence[str], topic: str) -> Shares:
    """The two shares of `answers`, which must not be empty."""
    parts = [part for answer in answers for part in sentences(answer)]
    return Shares(
        on_topic=sum(topic_of(answer) == topic for answer in answers) / len(answers),
        well_formed=sum(map(is_well_formed, parts)) / max(1, len(parts)),
    )

"""The tokens of one request that each part of its steering changes."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from steering.spec import EVERYWHERE, Positions, SteeringPart, SteeringSpec, fingerprint_of

Parts = tuple[SteeringPart, ...]
"""The parts that steer a token, each as if it steered every token."""


class Placement:
    """Where the parts of a spec steer a text of which the first `prompt_tokens` tokens are the prompt.

    `special` are the ids of the tokenizer's special tokens. A token is steered by one of few sets of parts: those of
    its segment, without the parts that leave out special tokens where it is one.
    """

    def __init__(self, spec: SteeringSpec, prompt_tokens: int, special: Collection[int] = ()) -> None:
        self._parts = spec.parts
        self._special = frozenset(special) if any(not part.special_tokens for part in spec.parts) else frozenset()
        spans = [span(part.positions, prompt_tokens) for part in spec.parts]
        ends = {end for _, end in spans if end is not None}
        self._starts = sorted({0, *(start for start, _ in spans), *ends})
        self._segments = [
            (self._active(spans, start, False), self._active(spans, start, True)) for start in self._starts
        ]

    def _active(self, spans: Sequence[tuple[int, int | None]], position: int, is_special: bool) -> Parts:
        return tuple(
            replace(part, positions=EVERYWHERE, special_tokens=True)
            for part, (start, end) in zip(self._parts, spans, strict=True)
            if start <= position and (end is None or position < end) and (part.special_tokens or not is_special)
        )

    @cached_property
    def sets(self) -> set[Parts]:
        """The sets of parts that steer tokens; the empty one where some are not steered."""
        return {parts for segment in self._segments for parts in segment[: 2 if self._special else 1]}

    @property
    def is_uniform(self) -> bool:
        """True where one set of parts steers every token."""
        return len(self.sets) == 1

    def at(self, start: int, ids: Sequence[int]) -> Iterator[Parts]:
        """The parts that steer each of the tokens `ids`, of which the first is at the position `start`."""
        for position, token in enumerate(ids, start):
            segment = self._segments[bisect_right(self._starts, position) - 1]
            yield segment[token in self._special]

    def runs(self, ids: Sequence[int]) -> Iterator[tuple[int, Parts]]:
        """(position, parts) wherever the parts change along the text `ids`, the first one at position 0."""
        if not self._special:
            yield from ((start, plain) for start, (plain, _) in zip(self._starts, self._segments, strict=True))
            return
        before: Parts | None = None
        for position, parts in enumerate(self.at(0, ids)):
            if parts != before:
                yield position, parts
            before = parts


def span(positions: Positions, prompt_tokens: int) -> tuple[int, int | None]:
    """The first position that is steered, and the first one after it that is not; None where the text ends before."""
    start = prompt_tokens if positions.of == "answer" else 0
    end = prompt_tokens if positions.of == "prompt" else None
    if positions.first is not None:
        end = start + positions.first if end is None else min(end, start + positions.first)
    if positions.last is not None:
        start = max(start, (prompt_tokens if end is None else end) - positions.last)
    return start, end


def key_of(parts: Parts, private: str = "") -> str:
    """A string that names what steers a token; empty for an unsteered one. `private` makes it one request's own."""
    return f"{private}{fingerprint_of(parts)}" if parts or private else ""

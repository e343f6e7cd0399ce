"""The tokens of one request that each part of its steering changes."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product

from inference.engine.steering.regions import CONTENT, REGIONS, Regions
from steering.spec import EVERYWHERE, Positions, Region, SteeringPart, SteeringSpec, fingerprint_of

Parts = tuple[SteeringPart, ...]
"""The parts that steer a token, each as if it steered every token."""


class Placement:
    """Where the parts of a spec steer one text of which the first `prompt_tokens` tokens are the prompt.

    `special` are the ids of the tokenizer's special tokens; `regions` finds calls and the reasoning, None where the
    model has neither. A token is steered by one of few sets of parts: those of its segment, without the parts that
    leave out tokens of its kind. Regions follow from all tokens before, so that a text with such parts is read in
    order: a token that was read may come again, as it does after the loss of its KV blocks, and is not read again.
    """

    def __init__(
        self, spec: SteeringSpec, prompt_tokens: int, special: Collection[int] = (), regions: Regions | None = None
    ) -> None:
        self._parts, self._prompt_tokens = spec.parts, prompt_tokens
        self._special = frozenset(special) if any(not part.special_tokens for part in spec.parts) else frozenset()
        self._reader = regions.reader() if regions and spec.has_regions else None
        self._regions: list[Region] = []
        spans = [span(part.positions, prompt_tokens) for part in spec.parts]
        ends = {end for _, end in spans if end is not None}
        kinds = [*product((False, True) if self._special else (False,), REGIONS if self._reader else (CONTENT,))]
        self._starts = sorted({0, *(start for start, _ in spans), *ends})
        self._segments = [{kind: self._active(spans, start, *kind) for kind in kinds} for start in self._starts]
        self._runs: list[tuple[int, Parts]] = []
        self._ran = 0

    def _active(
        self, spans: Sequence[tuple[int, int | None]], position: int, is_special: bool, region: Region
    ) -> Parts:
        return tuple(
            replace(part, positions=EVERYWHERE, special_tokens=True, tools=True, thinking=True)
            for part, (start, end) in zip(self._parts, spans, strict=True)
            if start <= position and (end is None or position < end)
            if (part.special_tokens or not is_special) and part.steers_region(region)
        )

    @cached_property
    def sets(self) -> set[Parts]:
        """The sets of parts that may steer tokens; the empty one where some may not be steered."""
        return {parts for segment in self._segments for parts in segment.values()}

    @property
    def segments(self) -> list[tuple[int, Parts, Parts]]:
        """(first position, parts at a plain token, parts at a special token), in order, of a text without regions."""
        assert self._reader is None
        plain = [
            (start, kinds[False, CONTENT], kinds) for start, kinds in zip(self._starts, self._segments, strict=True)
        ]
        return [(start, parts, kinds.get((True, CONTENT), parts)) for start, parts, kinds in plain]

    @property
    def is_uniform(self) -> bool:
        """True where one set of parts steers every token."""
        return len(self.sets) == 1

    def read(self, start: int, ids: Sequence[int]) -> None:
        """Find the regions of the tokens `ids`, of which the first is at the position `start`."""
        if self._reader is None:
            return
        if start > len(self._regions):
            raise ValueError(f"got tokens from {start} on, expected those from {len(self._regions)} on first")
        for token in ids[len(self._regions) - start :]:
            if len(self._regions) == self._prompt_tokens:
                self._reader.begin_answer()
            self._regions.append(self._reader.push(token))

    def at(self, start: int, ids: Sequence[int]) -> Iterator[Parts]:
        """The parts that steer each of the tokens `ids`, of which the first is at the position `start`."""
        self.read(start, ids)
        for position, token in enumerate(ids, start):
            segment = self._segments[bisect_right(self._starts, position) - 1]
            region = self._regions[position] if self._reader else CONTENT
            yield segment[token in self._special, region]

    def runs(self, ids: Sequence[int]) -> Sequence[tuple[int, Parts]]:
        """(position, parts) wherever the parts change along the text `ids`, the first one at position 0.

        Later calls have more of the same text; what follows from earlier ones may be in the answer too.
        """
        if not (self._special or self._reader):
            plain = (segment[False, CONTENT] for segment in self._segments)
            return [*zip(self._starts, plain, strict=True)]
        for position, parts in enumerate(self.at(self._ran, ids[self._ran :]), self._ran):
            if not self._runs or parts != self._runs[-1][1]:
                self._runs.append((position, parts))
        self._ran = max(self._ran, len(ids))
        return self._runs


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

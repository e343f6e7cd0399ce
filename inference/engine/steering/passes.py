"""Steered forward passes outside the batch, for readings and the log-probabilities of prompts."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from inference.engine.steering.hooks import SteeringHooks, TokenRows
from inference.engine.steering.regions import REGIONS, Regions
from inference.engine.steering.seat import Seat
from inference.engine.steering.weights import SteeringWeights
from steering.spec import SteeringSpec


@dataclass(frozen=True)
class PassSteering:
    """The steering of forward passes: its spec, and where the weights are read.

    `special` are ids of special tokens; `regions` finds calls and the reasoning, if the model has them.
    """

    spec: SteeringSpec
    weights: SteeringWeights
    special: Collection[int] = ()
    regions: Regions | None = None


class SteeredPasses:
    """Steers forward passes of `model` over texts, at most `most` of them at a time."""

    def __init__(self, model: nn.Module, steering: PassSteering, most: int = 1) -> None:
        self._spec, self._regions = steering.spec, steering.regions
        parts = len(steering.spec.parts)
        # A part begins and ends, and may leave out special tokens, calls and the reasoning.
        rows = 4 * (2 * parts + 1) * (len(REGIONS) if steering.spec.has_regions else 1)
        own = most if any(part.when for part in steering.spec.parts) else 1
        self._hooks = SteeringHooks(model, 1 + own * rows, steering.weights, steering.special)
        self._device = next(model.parameters()).device

    @contextmanager
    def seats(self, prompt_tokens: Sequence[int]) -> Iterator[list[Seat]]:
        """The seats of texts with prompts of these lengths; the rest of a text is an answer.

        A seat is of one text, whose tokens are read in order where the steering leaves out calls or the reasoning.
        Raises what reading the weights raises.
        """
        seats: list[Seat] = []
        try:
            for index, tokens in enumerate(prompt_tokens):
                seats.append(self._hooks.acquire(self._spec, tokens, f"text {index}", self._regions))
            yield seats
        finally:
            for seat in seats:
                seat.release()

    @contextmanager
    def steering(self, seats: Sequence[Seat], ids: Sequence[Sequence[int]], start: int = 0) -> Iterator[None]:
        """Steer the pass in the block: tokens `ids` of each text, from its position `start`, all of one length.

        Padding on the right is steered too, and no token before it reads it.
        """
        rows = [seat.rows(start, own) for seat, own in zip(seats, ids, strict=True)]
        positions = torch.arange(start, start + len(ids[0]), device=self._device).expand(len(ids), -1)
        used = frozenset(row for own in rows for row in own)
        self._hooks.install()
        self._hooks.set_rows(TokenRows(torch.tensor(rows, device=self._device), positions, used))
        try:
            yield
        finally:
            self._hooks.remove()


def seats_of(passes: SteeredPasses | None, prompt_tokens: Sequence[int]) -> AbstractContextManager[list[Seat]]:
    """`passes.seats`, or no seats where nothing steers."""
    if passes is None:
        return nullcontext([])
    return passes.seats(prompt_tokens)

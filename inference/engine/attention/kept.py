"""The keys and values of requests that decode together, kept from step to step.

The blocks of a request lie apart in the cache, so each layer of each step copies them: a sixth of a step of eight
requests. The copy of the step before lacks one token of each request. So it is kept as long as the same requests decode
together, and only their new tokens are written.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SLACK = 64
"""Tokens that a copy has room for beyond its longest request: after so many steps it is made anew."""
Pair = tuple[Tensor, Tensor]
"""Keys and values."""


class Kept:
    """The keys and values of some requests in each layer, (requests, capacity, heads, d_head), 0 behind their ends."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.capacity = max(lengths) + SLACK
        self._layers: dict[int, Pair] = {}
        self._begin_step(lengths)

    @property
    def tokens(self) -> int:
        return len(self._lengths) * self.capacity

    def advance(self, lengths: Sequence[int]) -> bool:
        """Begin a step of the same requests, each a token longer. Returns False where this is another step."""
        fits = self._lengths == [length - 1 for length in lengths] and max(lengths) <= self.capacity
        if fits:
            self._begin_step(lengths)
        return fits

    def _begin_step(self, lengths: Sequence[int]) -> None:
        self._lengths, self._longest = list(lengths), max(lengths)
        self._places = torch.tensor([row * self.capacity + length - 1 for row, length in enumerate(lengths)])

    def read(self, layer: int, new: Pair, copies: Callable[[], Pair]) -> Pair:
        """The keys and values of a layer up to the longest request, (requests, length, heads, d_head).

        `new` are those of the step's tokens, (requests, heads, d_head). `copies` reads all of them from the cache.
        """
        kept = self._layers.get(layer)
        if kept is None:
            keys, values = self._layers[layer] = self._with_slack(copies())
        else:
            keys, values = kept
            for one, added in zip(kept, new, strict=True):
                one.view(-1, *one.shape[2:]).index_copy_(0, self._places, added)
        return keys[:, : self._longest], values[:, : self._longest]

    def _with_slack(self, copies: Pair) -> Pair:
        made = [one.new_zeros(len(one), self.capacity, *one.shape[2:]) for one in copies]
        for kept, copied in zip(made, copies, strict=True):
            kept[:, : self._longest] = copied
        return made[0], made[1]


class KeptReads:
    """What a batch keeps of its last step: copies of up to `most` tokens in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._now: dict[tuple[str, ...], Kept] = {}
        self._before: dict[tuple[str, ...], Kept] = {}

    def begin_step(self) -> None:
        """Begin a step, whose groups `of` is asked for."""
        self._before, self._now = self._now, {}

    def drop_rest(self) -> None:
        """Drop the copies that no group of this step has taken over."""
        self._before = {}

    def of(self, requests: tuple[str, ...], lengths: Sequence[int]) -> Kept | None:
        """The copies of these requests, which have so many tokens now; None where they are too many to keep."""
        kept = self._before.pop(requests, None)
        if kept is None or not kept.advance(lengths):
            kept = Kept(lengths)
        if kept.tokens + sum(one.tokens for one in self._now.values()) > self._most:
            return None
        self._now[requests] = kept
        return kept

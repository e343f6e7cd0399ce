"""The state of a measuring: the statistics so far, and the tokens that the features so far promote."""

from typing import Any, Self

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from inference.engine.reading.logit_lens import PromotedTokens
from inference.engine.reading.statistics import Statistics

TOP = 10
"""Tokens that a feature promotes or suppresses."""


class MeasuringState:
    """The state of a measuring of `d_sae` features. It can be saved between two texts or two features."""

    def __init__(self, statistics: Statistics, sides: int = 2, top: int = TOP) -> None:
        self.statistics = statistics
        shape = (len(statistics.maxima), sides, top)
        self.tokens: NDArray[Any] = np.full(shape, -1, np.int32)
        """Token ids: promoted, suppressed; -1 where a vocabulary has fewer tokens."""
        self.logits: NDArray[Any] = np.zeros(shape, np.float32)
        self.named = 0
        """The features whose tokens are known: those before this one."""

    @classmethod
    def new(cls, d_sae: int, device: torch.device) -> Self:
        return cls(Statistics(d_sae, device))

    @classmethod
    def from_bytes(cls, saved: bytes, device: torch.device) -> Self:
        """Restore what `to_bytes` returned."""
        arrays = safetensors.numpy.load(saved)
        made = cls(Statistics.restore(arrays, device))
        made.named = int(arrays["named"])
        made.tokens[:], made.logits[:] = arrays["promoted"], arrays["logits"]
        return made

    def to_bytes(self) -> bytes:
        """The state in the form of safetensors."""
        lens = {"promoted": self.tokens, "logits": self.logits, "named": np.array(self.named)}
        saved: bytes = safetensors.numpy.save(self.statistics.save() | lens)
        return saved

    def name(self, found: PromotedTokens) -> None:
        """Keep the tokens of the next feature."""
        for side, tokens in enumerate((found.promoted, found.suppressed)):
            for place, (token, logit) in enumerate(tokens):
                self.tokens[self.named, side, place], self.logits[self.named, side, place] = token, logit
        self.named += 1

    def side(self, feature: int, side: int) -> list[tuple[int, float]]:
        """(token id, logit) of the tokens that a feature promotes (0) or suppresses (1)."""
        pairs = zip(self.tokens[feature, side].tolist(), self.logits[feature, side].tolist(), strict=True)
        return [pair for pair in pairs if pair[0] >= 0]

"""Vectors that steer, made of the residual streams of two sets of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inference.engine.reading.contrast import residual_auc
from inference.engine.reading.reader import Text
from inference.engine.reading.residual_reader import ResidualReader

Method = Literal["difference", "pca"]
Pool = Literal["mean", "last"]


@dataclass(frozen=True)
class MadeVector:
    """A vector, with figures of the texts of which it was made."""

    vector: Tensor
    """(d_model,) float32, on the CPU."""
    auc: float | None
    """The AUC of the difference of means as a classifier of the texts: see `contrast.Contrast.residual_auc`."""
    residual_norm: float
    """The mean norm of the residual stream over the tokens that count."""
    tokens: int
    """The tokens that count."""


def make_vector(
    reader: ResidualReader,
    positive: Sequence[Text],
    negative: Sequence[Text],
    *,
    method: Method = "difference",
    pool: Pool = "mean",
    stop: Callable[[], bool] = lambda: False,
) -> MadeVector | None:
    """Make a vector from `negative` to `positive` at the hook point of `reader`.

    Each set has a text, and each text a token that counts. A text is the mean of the residual streams of these tokens,
    or that of the last one. `difference` is the difference of the means of the two sets; `pca`, of pairs, is
    `principal_component` of their differences. Returns None once `stop()`, which is asked before each forward pass.
    """
    pooled = _Pooled([*positive, *negative], pool)
    for text, start, stream in reader.residual_streams([text.ids for text in pooled.texts], stop=stop):
        pooled.add(text, start, stream.float())
    if stop():
        return None
    rows = pooled.rows.cpu()
    first, second = rows.split([len(positive), len(negative)])
    vector = principal_component(first - second) if method == "pca" else first.mean(dim=0) - second.mean(dim=0)
    norm = float(pooled.norms) / pooled.tokens
    return MadeVector(vector, residual_auc(rows, len(positive)), norm, pooled.tokens)


def principal_component(differences: Tensor) -> Tensor:
    """The axis through 0 along which `differences`, (pairs, d_model), are largest: (d_model,) float32.

    Its norm is the mean norm of the differences. Its sign is that of most differences, as repeng chooses it
    (https://github.com/vgel/repeng, extract.py); where they are as many, that of their sum. The mean is not subtracted,
    as in repeng's `pca_center` and llama.cpp's `cvector-generator` (pca.hpp): repeng's default, `pca_diff`, subtracts
    it, and so leaves out what all pairs have in common.
    """
    axis = torch.linalg.svd(differences.double(), full_matrices=False).Vh[0]
    projected = differences.double() @ axis
    if (float(projected.sign().sum()), float(projected.sum())) < (0.0, 0.0):
        axis = -axis
    scaled: Tensor = (axis * differences.double().norm(dim=1).mean()).float()
    return scaled


class _Pooled:
    """The residual streams of each text as one, (texts, d_model): a chunk at a time."""

    rows: Tensor
    norms: Tensor
    """The sum of the norms over the tokens that count, ()."""

    def __init__(self, texts: Sequence[Text], pool: Pool) -> None:
        self.texts, self._pool = texts, pool
        self.tokens = 0
        self.rows, self.norms = torch.zeros(len(texts), 0), torch.zeros(())

    def add(self, text: int, start: int, stream: Tensor) -> None:
        """Add the residual streams of tokens of a text, (tokens, d_model) float32; those of one text come in order."""
        if not self.rows.shape[1]:
            self.rows = stream.new_zeros(len(self.texts), stream.shape[1])
            self.norms = stream.new_zeros(())
        counts = self.texts[text].counts
        counted = stream[torch.tensor(counts[start : start + len(stream)], device=stream.device)]
        if not len(counted):
            return
        self.tokens += len(counted)
        self.norms += counted.norm(dim=1).sum()
        if self._pool == "last":
            self.rows[text] = counted[-1]
        else:
            self.rows[text] += counted.sum(dim=0) / sum(counts)

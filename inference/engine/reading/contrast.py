"""Contrast: the features that tell one set of texts from another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from inference.engine.reading.reader import FeatureReader, Text

Pool = Literal["mean", "max"]


@dataclass(frozen=True)
class FeatureContrast:
    """How a feature tells the positive texts from the negative ones. Its score of a text is pooled over the tokens."""

    index: int
    difference: float
    """Mean score of the positive texts minus mean score of the negative ones."""
    auc: float
    """The probability that a positive text has a higher score than a negative one; a tie counts half."""
    positive_share: float
    """The share of the positive texts in which the feature fires."""
    negative_share: float
    density: float
    """The share of the tokens of all texts on which the feature fires."""


@dataclass(frozen=True)
class Contrast:
    """The result of comparing two sets of texts."""

    features: list[FeatureContrast]
    """Those that fire more in the positive texts, the largest difference first."""
    opposed: list[FeatureContrast]
    """Those that fire more in the negative texts, the largest difference first."""
    residual_auc: float | None
    """The AUC of a direction in the residual stream, the difference of means; each text is scored by the direction of
    the other texts. None where a set has one text."""


def contrast(
    reader: FeatureReader,
    positive: Sequence[Text],
    negative: Sequence[Text],
    *,
    pool: Pool = "mean",
    max_density: float = 1.0,
    top: int = 20,
    stop: Callable[[], bool] = lambda: False,
) -> Contrast:
    """Rank the features by the difference of their mean scores. Each set has a text, and each text a token that counts.

    Features that fire on more than `max_density` of the tokens are left out.
    """
    texts = [*positive, *negative]
    scores = _Scores(texts, pool)
    for chunk in reader.chunks([text.ids for text in texts], stop=stop):
        scores.add(chunk.text, chunk.start, chunk.stream, chunk.activations)
    first, second = scores.features.split([len(positive), len(negative)])
    density = scores.fired_tokens / scores.tokens.sum()
    difference = first.mean(dim=0) - second.mean(dim=0)
    difference[density > max_density] = 0.0
    fires = [side.float().mean(dim=0) for side in scores.fires.split([len(positive), len(negative)])]

    def ranked(sign: float) -> list[FeatureContrast]:
        values, indices = (sign * difference).topk(min(top, len(difference)))
        indices = indices[values > 0]
        columns = [difference, *fires, density]
        found = torch.stack([column[indices] for column in columns], dim=1).tolist()
        aucs = auc(first[:, indices], second[:, indices]).tolist()
        return [
            FeatureContrast(index, told[0], area, *told[1:])
            for index, area, told in zip(indices.tolist(), aucs, found, strict=True)
        ]

    return Contrast(ranked(1.0), ranked(-1.0), residual_auc(scores.residuals, len(positive)))


class _Scores:
    """Sums over the texts, a chunk at a time: the activations of all tokens at once would not fit into memory."""

    features: Tensor
    """(texts, d_sae): the pooled activations."""
    residuals: Tensor
    """(texts, d_model): the mean residual streams."""
    fires: Tensor
    """(texts, d_sae), bool."""
    fired_tokens: Tensor
    """(d_sae,): the tokens on which each feature fires."""

    def __init__(self, texts: Sequence[Text], pool: Pool) -> None:
        self._texts, self._pool = texts, pool
        self._is_empty = True
        self.tokens = torch.tensor([sum(text.counts) for text in texts])

    def add(self, text: int, start: int, stream: Tensor, activations: Tensor) -> None:
        if self._is_empty:
            self._make(stream, activations)
        counts = torch.tensor(self._texts[text].counts[start : start + len(stream)], device=stream.device)
        stream, activations = stream[counts], activations[counts]
        if not len(stream):
            return
        self.residuals[text] += stream.sum(dim=0) / self.tokens[text]
        fired = activations > 0
        self.fires[text] |= fired.any(dim=0)
        self.fired_tokens += fired.sum(dim=0)
        if self._pool == "mean":
            self.features[text] += activations.sum(dim=0) / self.tokens[text]
        else:
            self.features[text] = self.features[text].maximum(activations.amax(dim=0))

    def _make(self, stream: Tensor, activations: Tensor) -> None:
        self._is_empty = False
        texts, d_sae, device = len(self._texts), activations.shape[1], stream.device
        self.tokens = self.tokens.to(device)
        self.residuals = torch.zeros(texts, stream.shape[1], device=device)
        self.features = torch.zeros(texts, d_sae, device=device)
        self.fires = torch.zeros(texts, d_sae, dtype=torch.bool, device=device)
        self.fired_tokens = torch.zeros(d_sae, device=device)


def auc(positive: Tensor, negative: Tensor) -> Tensor:
    """The area under the ROC curve of each column, (columns,), of scores (texts, columns): Mann and Whitney's U."""
    below = negative.T.contiguous().sort(dim=1).values
    scores = positive.T.contiguous()
    lower = torch.searchsorted(below, scores)
    not_higher = torch.searchsorted(below, scores, right=True)
    area: Tensor = (lower + not_higher).float().mean(dim=1) / (2 * len(negative))
    return area


def residual_auc(residuals: Tensor, positives: int) -> float | None:
    """The AUC of the difference of means, left one out: in many dimensions a text's own share would tell it."""
    first, second = residuals[:positives], residuals[positives:]
    if min(len(first), len(second)) < 2:
        return None
    others = [(side.sum(dim=0) - side) / (len(side) - 1) for side in (first, second)]
    means = [side.mean(dim=0) for side in (first, second)]
    scores = [
        _projected(first, others[0], means[1]),
        _projected(second, means[0], others[1]),
    ]
    return float(auc(*[side.unsqueeze(1) for side in scores])[0])


def _projected(texts: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """How far each text lies towards the positive mean from the middle of the two means, (texts,)."""
    found: Tensor = ((texts - (positive + negative) / 2) * (positive - negative)).sum(dim=-1)
    return found

"""The features that fire most on each token of a text, and how often and how strongly each of them fires."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.engine.reading.reader import FeatureReader, Steering, Text


@dataclass(frozen=True)
class FeatureOfText:
    """The activations of one feature over the tokens of one text that count."""

    index: int
    maximum: float
    position: int
    """Of the token with the maximum."""
    total: float
    """The sum over the tokens."""


@dataclass
class TextFeatures:
    """The features that fire on a text."""

    tokens: list[list[tuple[int, float]]] = field(default_factory=list)
    """Of each token (feature, activation), the largest activation first; empty for a token that does not count."""
    features: list[FeatureOfText] = field(default_factory=list)
    """The features of `tokens`, the largest maximum first; or those asked for, in that order."""


def top_features(
    reader: FeatureReader,
    texts: Sequence[Text],
    top_k: int,
    features: Sequence[int] | None = None,
    steering: Steering | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, TextFeatures]]:
    """(index, features) of each text, in the order in which they are read; `features` are the only ones looked at.

    It ends early once `stop()`.
    """
    open_texts: dict[int, _TextReading] = {}
    for chunk in reader.chunks([text.ids for text in texts], steering, stop):
        text = texts[chunk.text]
        reading = open_texts.setdefault(chunk.text, _TextReading(text, top_k, features))
        reading.add(chunk.start, chunk.activations)
        if chunk.start + len(chunk.activations) == len(text.ids):
            yield chunk.text, open_texts.pop(chunk.text).result()


class _TextReading:
    """What is known of one text while its chunks come."""

    def __init__(self, text: Text, top_k: int, features: Sequence[int] | None) -> None:
        self._text, self._top_k = text, top_k
        self._asked = None if features is None else list(features)
        self._found = TextFeatures()
        self._maxima: Tensor | None = None
        self._positions = self._totals = torch.empty(0)

    def add(self, start: int, activations: Tensor) -> None:
        """`activations` (tokens, d_sae) of the tokens from `start` on."""
        if self._asked is not None:
            activations = activations[:, self._asked]
        counts = torch.tensor(self._text.counts[start : start + len(activations)], device=activations.device)
        activations = activations * counts.unsqueeze(1)
        values, columns = activations.topk(min(self._top_k, activations.shape[1]), dim=1)
        for token in zip(columns.tolist(), values.tolist(), strict=True):
            fired = [(self._index(column), value) for column, value in zip(*token, strict=True) if value > 0]
            self._found.tokens.append(fired)
        maxima, positions = activations.max(dim=0)
        if self._maxima is None:
            self._maxima, self._positions = maxima, positions + start
            self._totals = activations.sum(dim=0)
            return
        larger = maxima > self._maxima
        self._maxima = torch.where(larger, maxima, self._maxima)
        self._positions = torch.where(larger, positions + start, self._positions)
        self._totals = self._totals + activations.sum(dim=0)

    def result(self) -> TextFeatures:
        assert self._maxima is not None
        if self._asked is None:
            indices = sorted({index for token in self._found.tokens for index, _ in token})
            columns = indices
        else:
            indices, columns = self._asked, list(range(len(self._asked)))
        rows = zip(
            indices,
            self._maxima[columns].tolist(),
            self._positions[columns].tolist(),
            self._totals[columns].tolist(),
            strict=True,
        )
        self._found.features = [FeatureOfText(*row) for row in rows]
        if self._asked is None:
            self._found.features.sort(key=lambda one: -one.maximum)
        return self._found

    def _index(self, column: int) -> int:
        return column if self._asked is None else self._asked[column]

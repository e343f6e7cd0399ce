"""Statistics of all features of an SAE over many texts: how often and how strongly each fires, and where most."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.reading.reader import Block, FeatureReader, Text

EXAMPLES = 10
"""Examples that are kept of each feature."""
AROUND = 16
"""Tokens before and after the strongest token of an example."""
GROUP_TOKENS = 4096
"""Tokens of texts that are sorted by length together."""

BINS_PER_OCTAVE, LOWEST, HIGHEST = 4, -12, 16
EDGES = 2.0 ** (np.arange(LOWEST * BINS_PER_OCTAVE, HIGHEST * BINS_PER_OCTAVE + 1) / BINS_PER_OCTAVE)
"""Edges of the histograms, (bins + 1,). The first bin begins at 0, and the last one has no end."""
BINS = len(EDGES) - 1
PADDING = -1
"""Stands for the tokens before the begin and after the end of a text in the window of an example."""

Array = NDArray[Any]
ARRAYS = ("maxima", "fired", "totals", "tops", "windows", "values")
"""The arrays of the statistics that lie on the host."""


class NotFinite(ValueError):
    """A residual stream or an activation that is infinite or no number."""


@dataclass(frozen=True)
class Example:
    """The tokens around the token on which a feature fires most in a text, token ids, and its activations there."""

    tokens: list[int]
    values: list[float]
    maximum: float


class Statistics:
    """Statistics of the `d_sae` features of an SAE over the texts that were added; `device` is that of its encoder.

    Takes (66 `examples` + BINS) × 4 + 40 bytes a feature, 33 tokens being the window of an example: 210 MB for 65,536
    features and 10 examples, of which the histograms, 29 MB, lie on `device`.
    """

    def __init__(self, d_sae: int, device: torch.device | str = "cpu", examples: int = EXAMPLES) -> None:
        window = 2 * AROUND + 1
        self.tokens = 0
        """The tokens that count."""
        self.norms = 0.0
        """The sum of the norms of the residual stream over these tokens."""
        self.maxima: Array = np.zeros(d_sae, np.float32)
        self.fired: Array = np.zeros(d_sae, np.int64)
        """The tokens on which each feature fires."""
        self.totals: Array = np.zeros(d_sae, np.float64)
        self.tops: Array = np.zeros((d_sae, examples), np.float32)
        """The maximum of each example, in no order; 0 where there is none."""
        self.windows: Array = np.full((d_sae, examples, window), PADDING, np.int32)
        self.values: Array = np.zeros((d_sae, examples, window), np.float32)
        self.histograms = torch.zeros(d_sae, BINS, dtype=torch.int32, device=device)

    # --- results ---

    @property
    def residual_norm(self) -> float | None:
        """The mean norm of the residual stream, None before any token."""
        return self.norms / self.tokens if self.tokens else None

    def histogram(self, counts: Sequence[int]) -> dict[str, list[float] | list[int]] | None:
        """`counts`, a row of `histograms`, with the edges of its bins; without the empty bins at both ends."""
        used = np.flatnonzero(counts)
        if not len(used):
            return None
        first, last = int(used[0]), int(used[-1]) + 1
        edges = [0.0 if edge == 0 else float(f"{EDGES[edge]:.4g}") for edge in range(first, last + 1)]
        return {"edges": edges, "counts": [int(count) for count in counts[first:last]]}

    def examples(self, feature: int) -> Iterator[Example]:
        """The examples of a feature, the strongest first."""
        for place in np.argsort(-self.tops[feature], kind="stable"):
            if maximum := float(self.tops[feature, place]):
                inside = self.windows[feature, place] != PADDING
                tokens, values = self.windows[feature, place, inside], self.values[feature, place, inside]
                yield Example(tokens.tolist(), values.tolist(), maximum)

    # --- saved and restored ---

    def save(self) -> dict[str, Array]:
        """The state as arrays, of which most are this state's own."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        counted = {"tokens": np.array(self.tokens), "norms": np.array(self.norms)}
        return {**arrays, **counted, "histograms": self.histograms.cpu().numpy()}

    @classmethod
    def restore(cls, arrays: Mapping[str, Array], device: torch.device | str = "cpu") -> Self:
        """The state of the arrays of `save`, which are copied."""
        made = cls(0, device, 0)
        made.tokens, made.norms = int(arrays["tokens"]), float(arrays["norms"])
        made.histograms = torch.from_numpy(arrays["histograms"].copy()).to(device)
        for name in ARRAYS:
            setattr(made, name, arrays[name].copy())
        return made

    # --- texts ---

    def add(self, reader: FeatureReader, texts: Sequence[Text], stop: Callable[[], bool] = lambda: False) -> bool:
        """Add texts. Returns False where `stop()` ended the reading: the state then has a part of the texts.

        Raises NotFinite.
        """
        left = sum(len(text.ids) for text in texts)
        examples = _Examples(self, texts)
        for block in reader.blocks([text.ids for text in texts], stop=stop):
            left -= len(block.stream)
            counts = [one for span in block.spans for one in _counts(texts[span.text], span.start, span.tokens)]
            self._add(block, counts, examples)
        return left == 0

    def _add(self, block: Block, counts: list[bool], examples: "_Examples") -> None:
        stream, activations = block.stream, block.activations
        if not all(counts):
            mask = torch.tensor(counts, device=stream.device)
            stream, activations = stream[mask], activations * mask.unsqueeze(1)
        norm = float(stream.norm(dim=1).sum())
        rows, features = activations.nonzero(as_tuple=True)
        values = activations[rows, features]
        maxima = activations.amax(dim=0).float().cpu().numpy()
        if not np.isfinite(norm) or not np.isfinite(maxima).all():
            raise NotFinite("the residual stream has values that are not finite: load the model with another dtype")
        self.norms += norm
        self.tokens += len(stream)
        np.maximum(self.maxima, maxima, out=self.maxima)
        self.totals += activations.sum(dim=0).float().cpu().numpy()
        self.fired += torch.bincount(features, minlength=len(self.fired)).cpu().numpy()
        self._count(features, values)
        examples.add(block, activations)

    def _count(self, features: Tensor, values: Tensor) -> None:
        edges = torch.from_numpy(EDGES[1:-1]).to(values)
        bins = features * BINS + torch.bucketize(values, edges, right=True)
        ones = torch.ones(1, dtype=torch.int32, device=bins.device).expand(len(bins))
        self.histograms.view(-1).index_add_(0, bins, ones)


class _Examples:
    """Looks for the strongest tokens while the blocks of `texts` come. A span of a text gives a feature one example.

    A window reaches over the end of a span: the last tokens of a text's span wait for the next one, `_tail`.
    """

    def __init__(self, statistics: Statistics, texts: Sequence[Text]) -> None:
        self._statistics, self._texts = statistics, texts
        self._tail: Tensor | None = None
        self._next = 0
        """The position in the unfinished text from which tokens are still to be looked at."""
        self._offsets = np.arange(-AROUND, AROUND + 1)

    def add(self, block: Block, activations: Tensor) -> None:
        """`activations`, (tokens, d_sae), of the block; 0 of a token that does not count."""
        thresholds = torch.from_numpy(self._statistics.tops.min(axis=1)).to(activations.device)
        ends = list(accumulate(span.tokens for span in block.spans))
        for span, end in zip(block.spans, ends, strict=True):
            self._look(span.text, span.start, activations[end - span.tokens : end], thresholds)

    def _look(self, text: int, start: int, rows: Tensor, thresholds: Tensor) -> None:
        ids = self._texts[text].ids
        if start and self._tail is not None:
            start, rows = start - len(self._tail), torch.cat([self._tail, rows])
        else:
            self._next = 0
        end = start + len(rows)
        is_last = end == len(ids)
        until = end if is_last else max(self._next, end - AROUND)
        looked_at = rows[self._next - start : until - start]
        if len(looked_at):
            strongest, places = looked_at.max(dim=0)
            better = (strongest > thresholds).nonzero()[:, 0]
            if len(better):
                found = (places[better] + self._next - start).cpu().numpy()
                self._keep(better.cpu().numpy(), found, start, ids, rows, better)
        self._next = until
        self._tail = None if is_last else rows[max(0, until - AROUND - start) :].clone()

    def _keep(
        self, features: Array, places: Array, start: int, ids: Sequence[int], rows: Tensor, columns: Tensor
    ) -> None:
        """Put the windows around `places`, rows of the features of `columns`, in the place of the weakest examples."""
        window = places[:, None] + self._offsets
        inside = (window >= 0) & (window < len(rows))
        at = torch.from_numpy(window.clip(0, len(rows) - 1)).to(rows.device)
        values = rows[at, columns.unsqueeze(1)].float().cpu().numpy() * inside
        tokens = np.where(inside, np.asarray(ids)[(window + start).clip(0, len(ids) - 1)], PADDING)
        kept = self._statistics
        weakest = kept.tops[features].argmin(axis=1)
        strongest = values[:, AROUND]
        is_better = strongest > kept.tops[features, weakest]  # another span of the block may have taken the place
        chosen, places_of = features[is_better], weakest[is_better]
        kept.tops[chosen, places_of] = strongest[is_better]
        kept.windows[chosen, places_of] = tokens[is_better]
        kept.values[chosen, places_of] = values[is_better]


def _counts(text: Text, start: int, tokens: int) -> Sequence[bool]:
    return text.counts[start : start + tokens]


def groups(texts: Iterable[Text], tokens: int = GROUP_TOKENS) -> Iterator[list[Text]]:
    """The texts in order, in groups of at least `tokens` tokens; the last group has the rest."""
    group: list[Text] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text.ids)
        if size >= tokens:
            yield group
            group, size = [], 0
    if group:
        yield group


def measure(
    reader: FeatureReader, texts: Iterable[Text], examples: int = EXAMPLES, stop: Callable[[], bool] = lambda: False
) -> Statistics:
    """The statistics of all features over `texts`; over a part of them once `stop()`. Raises NotFinite."""
    statistics = Statistics(reader.encoder.config.d_sae, reader.encoder.weight.device, examples)
    for group in groups(texts):
        if not statistics.add(reader, group, stop):
            break
    return statistics

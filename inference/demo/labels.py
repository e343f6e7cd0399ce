"""Labels of the features of a demo's SAE: the words that excite each feature most."""

import csv
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

WORDS = 3
SEEN = 5
"""A token must occur at least this often for its mean to count."""
WEAKEST = 0.25
"""The least activation by a word of a label, as a share of the activation by its first word."""


class MeanActivations:
    """The mean activation of each feature at each token id, (vocab, d_sae), of tokens that come in parts."""

    def __init__(self, vocab: int, d_sae: int) -> None:
        self._sums = torch.zeros(vocab, d_sae)
        self._counts = torch.zeros(vocab)

    def add(self, tokens: Tensor, activations: Tensor) -> None:
        """Count `activations`, (tokens, d_sae), at the token ids `tokens`."""
        self._sums.index_add_(0, tokens, activations)
        self._counts.index_add_(0, tokens, torch.ones(len(tokens)))

    def means(self) -> Tensor:
        """The means; 0 for tokens that came too seldom."""
        counts = self._counts.unsqueeze(1)
        return torch.where(counts >= SEEN, self._sums / counts.clamp(min=1), 0.0)


def write_labels(path: Path, means: Tensor, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write a CSV that `import_labels` reads; `means` is (vocab, d_sae)."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "label"])
        writer.writerows(_labels(means, tokenizer))


def _labels(means: Tensor, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[int, str]]:
    """(feature, label) of the features that some token excites."""
    for feature, column in enumerate(means.T):
        values, ids = column.topk(4 * WORDS)
        exciting = ids[(values > 0) & (values >= WEAKEST * values[0])].tolist()
        # " The" and "the" are two tokens and one word
        words = dict.fromkeys(tokenizer.decode([token]).strip().lower() for token in exciting)
        if chosen := [word for word in words if word][:WORDS]:
            yield feature, ", ".join(chosen)

"""Labels of the demo SAE's features: the words that excite each feature most."""

import csv
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.demo.sae import TopKSAE
from inference.demo.search import record

SEED, ANSWERS_PER_TOPIC = 0, 200
WORDS = 3
SEEN = 5
"""A token must occur at least this often for its mean to count."""
WEAKEST = 0.25
"""The least activation by a word of a label, as a share of the activation by its first word."""


@torch.no_grad()
def write_labels(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sae: TopKSAE, layer: int, path: Path
) -> None:
    """Label the features as answers from the grammar excite them, into a CSV that `import_labels` reads."""
    streams = record(model, tokenizer, layer, random.Random(SEED), ANSWERS_PER_TOPIC).values()
    tokens = torch.cat([stream.tokens for stream in streams])
    means = mean_activations(tokens, sae.encode(torch.cat([stream.residuals for stream in streams])), len(tokenizer))
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "label"])
        writer.writerows(labels(means, tokenizer))


def mean_activations(tokens: Tensor, activations: Tensor, vocab: int) -> Tensor:
    """(vocab, d_sae): each feature's mean activation at each token, of `activations` (tokens, d_sae) at `tokens`."""
    sums = torch.zeros(vocab, activations.size(1)).index_add(0, tokens, activations)
    counts = torch.bincount(tokens, minlength=vocab).unsqueeze(1)
    return torch.where(counts >= SEEN, sums / counts.clamp(min=1), 0.0)


def labels(means: Tensor, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[int, str]]:
    """(feature, label) of the features that some token excites."""
    for feature, column in enumerate(means.T):
        values, ids = column.topk(4 * WORDS)
        exciting = ids[(values > 0) & (values >= WEAKEST * values[0])].tolist()
        # " The" and "the" are two tokens and one word
        words = dict.fromkeys(tokenizer.decode([token]).strip().lower() for token in exciting)
        if chosen := [word for word in words if word][:WORDS]:
            yield feature, ", ".join(chosen)


def label_files(folder: Path, layer: int) -> None:
    """Write `labels.csv` for the model and the SAE that are in `folder`."""
    weights = load_file(folder / "sae" / "sae_weights.safetensors")
    sae = TopKSAE(weights["b_dec"].numel(), weights["b_dec"])
    sae.load_state_dict(weights)
    model = LlamaForCausalLM.from_pretrained(folder / "model").eval()
    write_labels(model, AutoTokenizer.from_pretrained(folder / "model"), sae, layer, folder / "labels.csv")

"""Labels of the demo SAE's features, by answers from the grammar."""

import random
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.demo import labels
from inference.demo.tiny.sae import TopKSAE
from inference.demo.tiny.search import record

SEED, ANSWERS_PER_TOPIC = 0, 200


@torch.no_grad()
def write_labels(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sae: TopKSAE, layer: int, path: Path
) -> None:
    """Label the features as answers from the grammar excite them."""
    means = labels.MeanActivations(len(tokenizer), sae.b_enc.numel())
    for stream in record(model, tokenizer, layer, random.Random(SEED), ANSWERS_PER_TOPIC).values():
        means.add(stream.tokens, sae.encode(stream.residuals))
    labels.write_labels(path, means.means(), tokenizer)


def label_files(folder: Path, layer: int) -> None:
    """Write `labels.csv` for the model and the SAE that are in `folder`."""
    weights = load_file(folder / "sae" / "sae_weights.safetensors")
    sae = TopKSAE(weights["b_dec"].numel(), weights["b_dec"])
    sae.load_state_dict(weights)
    model = LlamaForCausalLM.from_pretrained(folder / "model").eval()
    write_labels(model, AutoTokenizer.from_pretrained(folder / "model"), sae, layer, folder / "labels.csv")

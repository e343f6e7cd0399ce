"""What is benchmarked: a Llama of 34 million parameters with random weights, its tokenizer and an SAE, in a folder."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCAB, D_MODEL, LAYERS, D_SAE, LAYER, CONTEXT = 8192, 512, 9, 4096, 4, 4096
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def make(folder: Path) -> None:
    """The model, its tokenizer and the SAE (`sae/`), always the same ones."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=D_MODEL,
        intermediate_size=1408,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.1,
        eos_token_id=VOCAB - 1,
        bos_token_id=VOCAB - 1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    make_sae(folder / "sae")


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and words that no text has: every token id decodes, no answer ends early."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = alphabet + [f"Ġw{i}" for i in range(VOCAB - len(alphabet) - 1)] + ["</s>"]
    backend = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    made.chat_template = TEMPLATE
    return made


def make_sae(folder: Path, layer: int = LAYER, width: int = D_SAE, architecture: str = "standard") -> None:
    """A random SAE in SAELens format; with a threshold where it is a JumpReLU."""
    generator = torch.Generator().manual_seed(layer)
    decoder = torch.nn.functional.normalize(torch.randn(width, D_MODEL, generator=generator), dim=-1)
    folder.mkdir()
    weights = {"W_dec": decoder, "W_enc": decoder.T.contiguous(), "b_enc": torch.zeros(width)}
    weights |= {"b_dec": torch.zeros(D_MODEL)}
    if architecture == "jumprelu":
        weights["threshold"] = torch.full((width,), 0.1)
    save_file(weights, folder / "sae_weights.safetensors")
    hook = {"hook_name": f"blocks.{layer}.hook_resid_post", "model_name": "bench"}
    config = {"architecture": architecture, "d_in": D_MODEL, "d_sae": width, "dtype": "float32", "metadata": hook}
    (folder / "cfg.json").write_text(json.dumps(config))

"""A tiny language model of a real class and an SAE for it, made on the spot."""

import json
import threading
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.engine.reading.reader import FeatureReader
from inference.engine.saes.encoders import load_encoder
from steering.formats import read_config

D_MODEL, D_SAE, LAYERS, CONTEXT = 32, 64, 3, 2048
TEXT = ["the quick brown fox jumps over the lazy dog", "ocean waves and winter songs", "日本語 🌊🚀 é ß"]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text round-trips."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"])
    backend.train_from_iterator(TEXT * 8, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def tiny_model(seed: int = 0) -> LlamaForCausalLM:
    """A random Llama, float32, on the CPU, with logits far enough apart for greedy comparisons."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=D_MODEL,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,  # the smallest one that vLLM computes on a CPU
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
        eos_token_id=1,
        bos_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def tiny_sae(folder: Path, layer: int = 1, seed: int = 0) -> Path:
    """A random SAE in SAELens format; its decoder rows have norm 1."""
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(D_SAE, D_MODEL, generator=generator), dim=-1)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        "W_enc": decoder.T.contiguous(),
        "W_dec": decoder,
        "b_enc": torch.zeros(D_SAE),
        "b_dec": torch.zeros(D_MODEL),
    }
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "architecture": "standard",
        "d_in": D_MODEL,
        "d_sae": D_SAE,
        "dtype": "float32",
        "metadata": {"hook_name": f"blocks.{layer}.hook_resid_post", "model_name": "tiny"},
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def tiny_reader(folder: Path) -> FeatureReader:
    """A reader of the tiny model through the tiny SAE, which is written to `folder`."""
    encoder = load_encoder(read_config(tiny_sae(folder)), "cpu", torch.float32)
    return FeatureReader(tiny_model(), encoder, threading.Lock())

"""Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors` (https://huggingface.co/fnlp/Llama-Scope).

The encoder is that of OpenMOSS's Language-Model-SAEs (sae.py of late 2024). On loading, that library divides the biases
by sqrt(d_model) / average norm and folds the norms of the decoder into the encoder; the threshold comes after both.
"""

import re
from math import sqrt
from pathlib import Path
from typing import Any

from steering.formats.config import (
    LARGEST_D_IN,
    LARGEST_D_SAE,
    SAEConfig,
    UnreadableSAE,
    Values,
    hook_layer,
    read_config_file,
)
from steering.formats.tensors import locate_decoder, stored_tensors

CONFIG_FILE = "hyperparams.json"
WEIGHTS_FILES = ("sae_weights.safetensors", "checkpoints/pruned.safetensors", "checkpoints/final.safetensors")
FOLDER = re.compile(r"(?P<model>Llama3_1-8B-Base)-L(?P<layer>\d{1,3})(?P<site>[A-Z]+)-\d+x")
SITES = {"R": "hook_resid_post", "M": "hook_mlp_out", "A": "hook_attn_out"}


def read(folder: Path, place: str) -> SAEConfig:
    """The configuration of a Llama Scope folder. Raises UnreadableSAE."""
    values = Values(read_config_file(folder / CONFIG_FILE), str(folder / CONFIG_FILE))
    hook_name = _hook(values, place)
    d_in = values.count("d_model", LARGEST_D_IN)
    weights = next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), folder / WEIGHTS_FILES[-1])
    d_sae = values.count("d_sae", LARGEST_D_SAE) if "d_sae" in values else None
    decoder, transposed, d_sae = locate_decoder(stored_tensors(weights), ("decoder.weight",), d_in, d_sae, weights)
    return SAEConfig(
        format="llama_scope",
        d_in=d_in,
        d_sae=d_sae,
        layer=hook_layer(hook_name),
        hook_name=hook_name,
        model_name="meta-llama/Llama-3.1-8B" if FOLDER.search(place) else "",
        weights=weights,
        decoder=decoder,
        transposed=transposed,
        apply_b_dec_to_input=values.flag("apply_decoder_bias_to_pre_encoder", True),
        rescale_by_decoder_norm=values.flag("sparsity_include_decoder_norm", True),
        **_activation(values, d_sae),
        **_normalization(values, d_in),
    )


def _hook(values: Values, place: str) -> str:
    matches = list(FOLDER.finditer(place))
    named = None
    if matches:
        site = SITES.get(matches[-1]["site"])
        if site is None:
            raise UnreadableSAE(f"{matches[-1][0]} is not supported: expected one of R, M and A after the layer")
        named = f"blocks.{int(matches[-1]['layer'])}.{site}"
    hook_name = values.text("hook_point_in") or named
    if hook_name is None:
        raise UnreadableSAE(
            f"{values.source} lacks 'hook_point_in', and no folder is named Llama3_1-8B-Base-L<layer><R|M|A>-8x"
        )
    if values.text("hook_point_out", hook_name) != hook_name:
        raise UnreadableSAE(f"{values.source} is of a transcoder, which does not steer where it reads: expected an SAE")
    if named not in (None, hook_name):
        raise UnreadableSAE(f"{values.source} says {hook_name}, the folder's name {named}: expected one hook point")
    return hook_name


def _activation(values: Values, d_sae: int) -> dict[str, Any]:
    name = values.text("act_fn", "relu").lower()
    threshold = values.number("jump_relu_threshold") if "jump_relu_threshold" in values else 0.0
    if values.flag("use_glu_encoder", False) or name not in ("relu", "topk", "jumprelu"):
        raise UnreadableSAE(f"{values.source}: an encoder with {name[:40]!r}, or GLU, is not supported")
    if name == "jumprelu" or (name == "topk" and threshold > 0):
        return {"architecture": "jumprelu", "threshold": threshold}
    return (
        {"architecture": "topk", "k": values.count("top_k", d_sae)} if name == "topk" else {"architecture": "standard"}
    )


def _normalization(values: Values, d_in: int) -> dict[str, Any]:
    name = values.text("norm_activation", "none")
    if name == "dataset-wise":
        norm = values.section("dataset_average_activation_norm").number("in")
        if norm <= 0:
            raise UnreadableSAE(f"{values.source}: dataset_average_activation_norm is {norm}: expected more than 0")
        return {"bias_scale": norm / sqrt(d_in)}
    known = {"token-wise": "constant_norm_rescale", "none": "none", "inference": "none"}
    if name not in known:
        raise UnreadableSAE(f"{values.source}: norm_activation {name[:100]!r} is not supported")
    return {"normalize_activations": known[name]}

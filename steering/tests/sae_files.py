"""Makers of small SAEs on disk, in each format, without torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[Any]
D_IN, D_SAE = 8, 16
HOOK_NAME = "blocks.3.hook_resid_post"


def weights(d_in: int = D_IN, d_sae: int = D_SAE, seed: int = 0) -> dict[str, Array]:
    """The tensors of a standard SAE in SAELens's names, float32."""
    random = np.random.default_rng(seed)
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_saelens(folder: Path, tensors: dict[str, Array] | None = None, **config: Any) -> Path:
    """A SAELens folder; a key of `config` that is None is left out of cfg.json."""
    tensors = weights() if tensors is None else tensors
    defaults = {"architecture": "standard", "d_in": D_IN, "d_sae": D_SAE, "hook_name": HOOK_NAME, "model_name": "gpt2"}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    return write_config(folder / "cfg.json", defaults | config)


def write_mistudio(folder: Path, tensors: dict[str, Array] | None = None, **config: Any) -> Path:
    """What miStudio exports: cfg.json as of community_format.py in https://github.com/hitsainet/miStudio."""
    defaults = {
        "hook_name": "blocks.5.hook_resid_post",
        "hook_point": "blocks.5.hook_resid_post",
        "hook_point_layer": 5,
        "activation_fn_str": "relu",
        "normalize_activations": "constant_norm_rescale",
        "apply_b_dec_to_input": False,
        "dtype": "torch.float32",
        "mistudio_training_id": "train_1",
        "extra_metadata": {"hf_model_name": "openai-community/gpt2"},
        "expansion_factor": 2.0,
    }
    return write_saelens(folder, tensors, **(defaults | config))


def write_gemma_scope(folder: Path, tensors: dict[str, Array] | None = None, compressed: bool = False) -> Path:
    """A folder with Gemma Scope's params.npz, whose place must be in its path."""
    tensors = weights() | {"threshold": np.ones(D_SAE, np.float32)} if tensors is None else tensors
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = dict(tensors)
    (np.savez_compressed if compressed else np.savez)(folder / "params.npz", **arrays)
    return folder


def write_gemma_scope_2(folder: Path) -> Path:
    """A folder with the params.safetensors of Gemma Scope 2, whose place must be in its path."""
    made = weights()
    tensors = {name.lower(): made[name] for name in ("W_enc", "W_dec")} | {
        name: made[name] for name in ("b_enc", "b_dec")
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors | {"threshold": np.ones(D_SAE, np.float32)}, folder / "params.safetensors")
    return folder


def write_llama_scope(folder: Path, tensors: dict[str, Array] | None = None, **config: Any) -> Path:
    """A Llama Scope folder with hyperparams.json and checkpoints/final.safetensors."""
    made = weights()
    linear = {
        "encoder.weight": made["W_enc"].T.copy(),
        "encoder.bias": made["b_enc"],
        "decoder.weight": made["W_dec"].T.copy(),
        "decoder.bias": made["b_dec"],
    }
    defaults = {
        "hook_point_in": "blocks.15.hook_resid_post",
        "hook_point_out": "blocks.15.hook_resid_post",
        "d_model": D_IN,
        "d_sae": D_SAE,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.5,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 17.0, "out": 17.0},
        "apply_decoder_bias_to_pre_encoder": False,
        "sparsity_include_decoder_norm": True,
    }
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_file(linear if tensors is None else tensors, folder / "checkpoints" / "final.safetensors")
    return write_config(folder / "hyperparams.json", defaults | config)


def write_sparsify(folder: Path, **config: Any) -> Path:
    """A sparsify folder, whose name says the hook point."""
    made = weights()
    folder.mkdir(parents=True, exist_ok=True)
    encoder = {"encoder.weight": made["W_enc"].T.copy(), "encoder.bias": made["b_enc"]}
    save_file({"W_dec": made["W_dec"], "b_dec": made["b_dec"]} | encoder, folder / "sae.safetensors")
    return write_config(folder / "cfg.json", {"d_in": D_IN, "k": 4, "expansion_factor": 2, **config})


def write_dictionary_learning(folder: Path, state: dict[str, Any] | None = None, **trainer: Any) -> Path:
    """A dictionary_learning folder; `state` goes into ae.pt as it is. Imports torch."""
    import torch

    made = {name: torch.from_numpy(values) for name, values in weights().items()}
    linear = {"encoder.weight": made["W_enc"].T, "decoder.weight": made["W_dec"].T}
    defaults = {"dict_class": "AutoEncoder", "activation_dim": D_IN, "dict_size": D_SAE, "layer": 3, "lm_name": "gpt2"}
    folder.mkdir(parents=True, exist_ok=True)
    biases = {"encoder.bias": made["b_enc"], "bias": made["b_dec"]}
    torch.save(linear | biases if state is None else state, folder / "ae.pt")
    return write_config(folder / "config.json", {"trainer": defaults | trainer})


def write_config(path: Path, config: dict[str, Any]) -> Path:
    """`config` without its None values as JSON; the folder it is in."""
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return path.parent

"""Makers of vector sets on disk: control vectors by the writer of the library `gguf`, and folders of `vectors`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

from steering.tests.sae_files import Array

WIDTH = 8


def directions(*layers: int, width: int = WIDTH, seed: int = 0) -> dict[int, Array]:
    """A direction for each layer, (width,) float32."""
    random = np.random.default_rng(seed)
    return {layer: random.standard_normal(width, dtype=np.float32) for layer in layers}


def write_control_vector(path: Path, made: Mapping[int, Array], hint: str = "llama", method: str = "") -> Path:
    """A file as repeng's `ControlVector.export_gguf` writes it, byte for byte; with `method` as EasySteer's does.

    repeng/extract.py of https://github.com/vgel/repeng 0.4.0, easysteer/steer/utils.py of
    https://github.com/ZJU-REAL/EasySteer. repeng itself needs an older numpy than miLLM.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arch = "controlvector"
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string(f"{arch}.model_hint", hint)
    if method:
        writer.add_string(f"{arch}.method", method)
    writer.add_uint32(f"{arch}.layer_count", len(made))
    for layer, values in made.items():
        writer.add_tensor(f"direction.{layer}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_model_gguf(path: Path) -> Path:
    """A GGUF file of a model: another architecture, arrays in its metadata, a tensor of two dimensions."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a", "b"])
    writer.add_array("tokenizer.ggml.scores", [0.0, 1.0, 2.0])
    writer.add_tensor("token_embd.weight", np.zeros((3, WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_vectors(folder: Path, values: Array, *, npz: bool = False, compressed: bool = False, **config: Any) -> Path:
    """A folder of the format `vectors` with its cfg.json; a key of `config` that is None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    if npz:
        (np.savez_compressed if compressed else np.savez)(folder / "vectors.npz", vectors=values)
    else:
        save_file({"vectors": values}, folder / "vectors.safetensors")
    defaults = {"format": "vectors", "hook_name": "blocks.3.hook_resid_post", "model_name": "gpt2"}
    written = {key: value for key, value in (defaults | config).items() if value is not None}
    (folder / "cfg.json").write_text(json.dumps(written))
    return folder

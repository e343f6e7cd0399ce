"""Whether a model fits into memory, told before it is loaded."""

import json
from pathlib import Path

import psutil
import torch
from django.conf import settings
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig

from inference import cgroup
from inference.loading import pick_device, pick_dtype
from inference.models import LanguageModel
from inference.weights import gib, weight_files
from steering.errors import SteeringError

HEADROOM = 1.1
"""Activations, hooks and what a framework keeps for itself, over weights and cache."""


class NotEnoughMemory(SteeringError):
    """A load that would not fit; the message has the figures."""

    code = "not_enough_memory"
    status = 409


class BrokenWeights(SteeringError):
    """Files of weights that cannot be read."""

    code = "broken_weights"


def check_fits(model: LanguageModel) -> None:
    """Refuse to load what does not fit. Raises NotEnoughMemory or BrokenWeights."""
    device = pick_device(model.device)
    needed = estimate_bytes(model.path, model.dtype, device)
    free = free_bytes(device)
    if needed > free:
        raise NotEnoughMemory(
            f"{model} needs about {gib(needed)} on {device}, and {gib(free)} are free: "
            "unload another model, choose a smaller dtype, or set INFERENCE_CACHE_TOKENS lower"
        )


def estimate_bytes(folder: Path, dtype: str, device: torch.device) -> int:
    """Weights, KV cache of INFERENCE_CACHE_TOKENS and some headroom, in bytes."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    chosen = pick_dtype(dtype, device)
    stored = getattr(config, "dtype", None)
    loaded = chosen if isinstance(chosen, torch.dtype) else stored if isinstance(stored, torch.dtype) else torch.float32
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    cache = 2 * settings.INFERENCE_CACHE_TOKENS * config.num_hidden_layers * keys * head_size
    return int((parameters(folder) + cache) * loaded.itemsize * HEADROOM)


def parameters(folder: Path) -> int:
    """How many numbers the weights have, from the headers of the files. Raises BrokenWeights."""
    total = 0
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                total += sum(_count(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError, json.JSONDecodeError) as error:
            raise BrokenWeights(f"{path.name} cannot be read as safetensors: {error}") from error
    if not total:
        raise BrokenWeights(f"{folder} has no *.safetensors with weights")
    return total


def _count(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def free_bytes(device: torch.device) -> int:
    """What a new model may take on `device`."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available, allowed = int(psutil.virtual_memory().available), cgroup.free_bytes()
    return available if allowed is None else min(available, allowed)

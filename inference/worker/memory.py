"""Whether a model fits into memory, told before it is loaded."""

import psutil
import torch
from django.conf import settings
from transformers import PreTrainedConfig, PreTrainedModel

from inference.engine.loading import pick_device, pick_dtype, read_config, torch_dtype
from inference.models import LanguageModel
from inference.weights import gib, stored_weights
from inference.worker import cgroup
from steering.errors import Refused

HEADROOM = 1.1
"""Activations, hooks and what a framework keeps for itself, over weights and cache."""
IN_FLIGHT = 4
"""Tensors in the host's memory at once, on their way to a GPU: transformers loads in so many threads."""


class NotEnoughMemory(Refused):
    """A load that would not fit; the message has the figures."""

    code = "not_enough_memory"
    status = 409


def check_fits(row: LanguageModel, in_place_of: PreTrainedModel | None = None) -> None:
    """Refuse to load what does not fit, once `in_place_of` is unloaded. Raises NotEnoughMemory or BrokenWeights."""
    for device, needed in needs(row).items():
        freed = taken(in_place_of) if in_place_of is not None and in_place_of.device == device else 0
        free = free_bytes(device) + freed
        if needed > free:
            where = device if device == pick_device(row.device) else "the host, to load it,"
            after = " when what is served now is unloaded" if freed else ""
            raise NotEnoughMemory(
                f"{row} needs about {gib(needed)} on {where}, and {gib(free)} are free{after}: "
                "unload another model, choose a smaller dtype, or set INFERENCE_CACHE_TOKENS lower"
            )


def needs(row: LanguageModel) -> dict[torch.device, int]:
    """The bytes that a model takes on its device, and on the host while it is loaded from there to a GPU."""
    config, stored, device = read_config(row), stored_weights(row.path), pick_device(row.device)
    dtype = pick_dtype(row.dtype, device, config, stored)
    needed = {device: estimate_bytes(config, sum(weight.size for weight in stored.values()), dtype)}
    if device.type == "cuda":
        sizes = sorted(weight.size * torch_dtype(name, weight).itemsize for name, weight in stored.items())
        needed[torch.device("cpu")] = sum(sizes[-IN_FLIGHT:])
    return needed


def taken(model: PreTrainedModel) -> int:
    """The bytes that a loaded model and its engine take."""
    return estimate_bytes(model.config, sum(weights.numel() for weights in model.parameters()), model.dtype)


def estimate_bytes(config: PreTrainedConfig, weights: int, dtype: torch.dtype) -> int:
    """So many weights, the KV cache of INFERENCE_CACHE_TOKENS and some headroom, in bytes."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    keys = getattr(text, "num_key_value_heads", None) or heads
    cache = 2 * settings.INFERENCE_CACHE_TOKENS * text.num_hidden_layers * keys * head_size
    return int((weights + cache) * dtype.itemsize * HEADROOM)


def free_bytes(device: torch.device) -> int:
    """What a new model may take on `device`."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available, allowed = int(psutil.virtual_memory().available), cgroup.free_bytes()
    return available if allowed is None else min(available, allowed)

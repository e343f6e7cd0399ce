"""The memory of models: whether one fits, before it is loaded, and its release."""

import gc
import logging
import time
import weakref
from typing import Self

import psutil
import torch
from django.conf import settings
from transformers import PreTrainedConfig, PreTrainedModel

from inference.engine.loading import pick_device, pick_dtype, read_config, torch_dtype
from inference.models import LanguageModel
from inference.room import HEADROOM
from inference.weights import gib, stored_weights
from inference.worker import cgroup
from steering.errors import Refused

IN_FLIGHT = 4
"""Tensors in the host's memory at once, on their way to a GPU: transformers loads in this many threads."""
FREE_S = 5.0
"""Other threads, such as that of cancellations, may hold an unloaded model for a moment."""

logger = logging.getLogger(__name__)


class NotEnoughMemory(Refused):
    """A load that does not fit into memory; the message has the figures."""

    code = "not_enough_memory"
    status = 409

    @classmethod
    def of(cls, row: LanguageModel, needed: int, free: int, where: str, after: str = "") -> Self:
        """The refusal of a load that needs `needed` bytes where `free` are, in some circumstances."""
        return cls(
            f"{row} needs about {gib(needed)} on {where}, and {gib(free)} are free{after}: "
            "unload another model, choose a smaller dtype, or set INFERENCE_CACHE_TOKENS lower"
        )


def check_memory(row: LanguageModel, in_place_of: PreTrainedModel | None = None) -> None:
    """Raise NotEnoughMemory where a model does not fit once `in_place_of` is unloaded. Raises BrokenWeights."""
    for device, needed in needs(row).items():
        freed = taken(in_place_of) if in_place_of is not None and in_place_of.device == device else 0
        free = free_bytes(device) + freed
        if needed > free:
            where = device if device == pick_device(row.device) else "the host, to load it,"
            after = " when the model that is served now is unloaded" if freed else ""
            raise NotEnoughMemory.of(row, needed, free, str(where), after)


def fits_beside(row: LanguageModel, served: PreTrainedModel) -> bool:
    """True where a model fits while `served` stays loaded. Raises BrokenWeights."""
    return all(
        needed + (unused_cache(served) if served.device == device else 0) <= free_bytes(device)
        for device, needed in needs(row).items()
    )


def needs(row: LanguageModel) -> dict[torch.device, int]:
    """The bytes that a model takes on its device, and on the host while it is loaded from there to a GPU."""
    config, stored, device = read_config(row.path), stored_weights(row.path), pick_device(row.device)
    dtype = pick_dtype(row.dtype, device, config, stored)
    needed = {device: estimate_bytes(config, sum(weight.size for weight in stored.values()), dtype)}
    if device.type == "cuda":
        sizes = sorted(weight.size * torch_dtype(name, weight).itemsize for name, weight in stored.items())
        needed[torch.device("cpu")] = sum(sizes[-IN_FLIGHT:])
    return needed


def taken(model: PreTrainedModel) -> int:
    """The bytes that a loaded model and its engine take."""
    return estimate_bytes(model.config, sum(weights.numel() for weights in model.parameters()), model.dtype)


def unused_cache(model: PreTrainedModel) -> int:
    """The bytes of a loaded model's KV cache that may count as free: the host gives memory on its first use."""
    return cache_numbers(model.config) * model.dtype.itemsize if model.device.type == "cpu" else 0


def estimate_bytes(config: PreTrainedConfig, weights: int, dtype: torch.dtype) -> int:
    """The bytes of `weights` numbers, of the KV cache of INFERENCE_CACHE_TOKENS and of some headroom."""
    return int((weights + cache_numbers(config)) * dtype.itemsize * HEADROOM)


def cache_numbers(config: PreTrainedConfig) -> int:
    """The numbers in the KV cache of INFERENCE_CACHE_TOKENS."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    keys = getattr(text, "num_key_value_heads", None) or heads
    return int(2 * settings.INFERENCE_CACHE_TOKENS * text.num_hidden_layers * keys * head_size)


def free_bytes(device: torch.device) -> int:
    """The bytes that a new model may take on `device`."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available, allowed = int(psutil.virtual_memory().available), cgroup.free_bytes()
    return available if allowed is None else min(available, allowed)


def free_memory() -> None:
    """Return the memory of dropped tensors to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_memory_of(model: "weakref.ref[torch.nn.Module]") -> None:
    """Free the memory of a dropped model, once no thread holds it any more; waits up to FREE_S."""
    deadline = time.monotonic() + FREE_S
    free_memory()
    while model() is not None:
        if time.monotonic() > deadline:
            logger.warning("the model that was unloaded is still in memory after %s s", FREE_S)
            return
        time.sleep(0.1)
        free_memory()

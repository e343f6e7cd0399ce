"""Whether workers can hold a model beside the one that they serve, as far as a web can tell."""

from enum import Enum
from typing import TYPE_CHECKING

from django.conf import settings

from inference.broker.heartbeats import Heartbeat
from inference.model_files import model_folder
from inference.weights import stored_weights
from steering.errors import Refused

if TYPE_CHECKING:
    from inference.models import LanguageModel

HEADROOM = 1.1
"""Activations, hooks and the framework's own memory, over weights and cache."""
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
STORED_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}


class Room(Enum):
    """What a load will find; a worker decides by its own figures."""

    BOTH = "both"
    ONE = "one"
    UNKNOWN = "unknown"


def room_beside(model: "LanguageModel", served: "LanguageModel") -> Room:
    """The room for `model` beside `served`, the current model, on all workers that serve it and will follow."""
    workers = served.workers.now if served.workers else None
    followers = [one for one in workers or () if one.serves(served.name) and not one.is_pinned]
    bounds = _bounds(model)
    if not followers or bounds is None or not all(_is_of_device(one, model, served) for one in followers):
        return Room.UNKNOWN
    least, most = bounds
    most += _cache(served)  # of which the host may count a part as free
    free = [one.free_bytes for one in followers if one.free_bytes is not None]
    if len(free) < len(followers):
        return Room.UNKNOWN
    if min(free) >= most:
        return Room.BOTH
    return Room.ONE if max(free) < least else Room.UNKNOWN


def _is_of_device(worker: Heartbeat, model: "LanguageModel", served: "LanguageModel") -> bool:
    """True where `model` goes to the device whose free memory the worker reports."""
    return model.device in (served.device, worker.device)


def _bounds(model: "LanguageModel") -> tuple[int, int] | None:
    """The fewest and the most bytes that the model takes; None where its files are not here or cannot be read."""
    try:
        folder = model_folder(model)
        weights = stored_weights(folder).values() if folder else None
    except (Refused, OSError):
        return None
    if weights is None:
        return None
    numbers = sum(weight.size for weight in weights)
    if model.dtype in ITEM_BYTES:
        least = numbers * ITEM_BYTES[model.dtype]
    else:
        least = sum(weight.size * STORED_BYTES.get(weight.dtype, 1) for weight in weights)
    most = numbers * max(ITEM_BYTES.values()) + _cache(model)
    return int(least * HEADROOM), int(most * HEADROOM)


def _cache(model: "LanguageModel") -> int:
    """The most bytes of the KV cache: no supported architecture has keys of more than twice the model's width."""
    keys_and_values = 2 * 2 * model.d_model
    return int(settings.INFERENCE_CACHE_TOKENS * model.num_layers * keys_and_values * max(ITEM_BYTES.values()))

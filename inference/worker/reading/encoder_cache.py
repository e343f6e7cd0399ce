"""Encoders of SAEs in memory: loaded when first needed, dropped when another is needed and nobody uses them."""

import threading
from weakref import WeakValueDictionary

import torch

from inference.engine.saes.encoders import Encoder, load_encoder
from inference.weights import gib
from inference.worker.memory import NotEnoughMemory, free_bytes, free_memory
from inference.worker.saes.preparation import config_at
from steering.formats import VECTORS, SAEConfig, UnreadableSAE
from steering.spec import SAEPlace

DTYPE = torch.float32
COPIES = 2
"""Tensors of an encoder's size in memory while it is loaded: the weights of the file, and these turned and moved."""


class EncoderCache:
    """The encoder that was used last, and those that somebody still uses, on `device`. Any thread may ask for one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._last: Encoder | None = None
        self._alive: WeakValueDictionary[SAEPlace, Encoder] = WeakValueDictionary()

    def get(self, place: SAEPlace) -> Encoder:
        """The encoder of the SAE at `place`. Raises UnreadableSAE, BrokenDecoder or NotEnoughMemory."""
        with self._lock:
            found = self._alive.get(place)
            if found is None:
                self._last = None
                free_memory()
                config = config_at(place)
                if config.architecture == VECTORS:
                    raise UnreadableSAE(f"{config.weights} is of a vector set, which has no encoder: name an SAE")
                self._check_memory(config)
                found = self._alive[place] = load_encoder(config, self._device, DTYPE)
            self._last = found
            return found

    def _check_memory(self, config: SAEConfig) -> None:
        size = config.d_in * config.d_sae * DTYPE.itemsize
        on_host = self._device.type == "cpu"
        needs = {torch.device("cpu"): COPIES * size}
        if not on_host:
            needs[self._device] = size
        for device, needed in needs.items():
            if needed > (free := free_bytes(device)):
                raise NotEnoughMemory(
                    f"the encoder of {config.weights} needs {gib(needed)} on {device}, and {gib(free)} are free: "
                    "choose a smaller SAE, or set INFERENCE_CACHE_TOKENS lower"
                )

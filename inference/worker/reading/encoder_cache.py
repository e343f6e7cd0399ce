"""The encoder of one SAE in memory: loaded when it is first needed, dropped when another is needed."""

import threading

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
    """The encoder that was used last, on `device`. Any thread may ask for one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._place: SAEPlace | None = None
        self._encoder: Encoder | None = None

    def get(self, place: SAEPlace) -> Encoder:
        """The encoder of the SAE at `place`. Raises UnreadableSAE, BrokenDecoder or NotEnoughMemory."""
        with self._lock:
            if self._encoder is None or self._place != place:
                self._encoder = self._place = None
                free_memory()
                config = config_at(place)
                if config.architecture == VECTORS:
                    raise UnreadableSAE(f"{config.weights} is of a vector set, which has no encoder: name an SAE")
                self._check_memory(config)
                self._encoder, self._place = load_encoder(config, self._device, DTYPE), place
            return self._encoder

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

"""The engines that a worker can have, by INFERENCE_ENGINE: a module each, loaded where it is used."""

from importlib import import_module
from types import ModuleType

from django.conf import settings

MODULES = {"transformers": "inference.worker.engines.on_transformers", "vllm": "inference.worker.engines.on_vllm"}


def engine() -> ModuleType:
    """The module of this worker's engine, with `prepare`, `fits_beside` and `server`."""
    return import_module(MODULES[settings.INFERENCE_ENGINE])

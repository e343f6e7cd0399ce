"""The vLLM engine in a worker: chats and completions, steered. What else a request asks for is refused by name."""

import torch
from django.conf import settings
from transformers import AutoTokenizer

from inference import capabilities
from inference.engine.loading import LOCAL, pick_device, pick_dtype, read_config
from inference.engine.steering.weights import SteeringWeights
from inference.interface import EngineUnsupported, Event
from inference.models import LanguageModel
from inference.vllm.arguments import Parallel, set_environment
from inference.weights import stored_weights
from inference.worker.memory import NotEnoughMemory, free_bytes, needs
from inference.worker.model_server import ModelServer, limits_from_settings
from inference.worker.requests.builder import RequestBuilder
from inference.worker.saes.preparation import config_at

ARCHITECTURES = {"gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3"}
"""By `model_type`: those whose blocks miLLM hooks in vLLM. Each is tested with a small model of the real class."""


class VllmServer(ModelServer):
    """A model in vLLM's processes."""

    KIND = "vllm"
    LACKS = capabilities.OF_TRANSFORMERS_ONLY

    def __init__(self, worker: str, model: LanguageModel) -> None:
        super().__init__(worker, model)
        set_environment(compiled=settings.INFERENCE_COMPILE)
        from inference.vllm.engine import VllmEngine  # which imports vLLM: the environment comes first

        tokenizer = AutoTokenizer.from_pretrained(model.path, **LOCAL)
        device = pick_device(model.device)
        self.device = str(device)
        config = read_config(model.path)
        dtype = pick_dtype(model.dtype, device, config, stored_weights(model.path))
        self.engine = VllmEngine(
            model.path,
            tokenizer,
            self._report,
            SteeringWeights(config_at),
            limits_from_settings(),
            str(dtype).removeprefix("torch."),
            Parallel(settings.INFERENCE_TENSOR_PARALLEL, settings.INFERENCE_PIPELINE_PARALLEL),
            compiled=settings.INFERENCE_COMPILE,
        )
        rows = config.get_text_config().vocab_size
        self._builder = RequestBuilder(tokenizer, rows, self.engine, self.engine.texts)

    def _report(self, events: list[Event]) -> None:
        self.jobs.report(events)


def prepare(row: LanguageModel, served: ModelServer | None) -> None:
    """Find early what keeps a model from being loaded in place of `served`.

    Raises EngineUnsupported, BrokenWeights, NotEnoughMemory, UnsupportedArchitecture, or what transformers raises.
    """
    AutoTokenizer.from_pretrained(row.path, **LOCAL)
    config = read_config(row.path)
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise EngineUnsupported(f"the architecture {config.model_type}: expected one of {known}")
    stored_weights(row.path)
    _check_memory(row, served)


def fits_beside(_row: LanguageModel, _served: ModelServer) -> bool:
    """False: vLLM takes its devices for one model."""
    return False


def server(worker: str, row: LanguageModel) -> ModelServer:
    """Load a model. Raises NotEnoughMemory, or what vLLM raises."""
    _check_memory(row, None)
    return VllmServer(worker, row)


def _check_memory(row: LanguageModel, served: ModelServer | None) -> None:
    ranks = settings.INFERENCE_TENSOR_PARALLEL * settings.INFERENCE_PIPELINE_PARALLEL
    device = pick_device(row.device)
    # On a CPU the ranks share the memory.
    share = ranks if device.type == "cuda" else 1
    needed = needs(row)[device] // share
    freed = needs(served.model)[device] // share if served else 0
    if needed > (free := free_bytes(torch.device(device)) + freed):
        after = " when the model that is served now is unloaded" if served else ""
        raise NotEnoughMemory.of(row, needed, free, str(device), after)

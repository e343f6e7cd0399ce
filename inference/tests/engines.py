"""An engine under test whose events are collected per request: of transformers, or of vLLM where that is installed."""

import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.engine.engine import ContinuousEngine, EngineLimits
from inference.engine.steering.weights import SteeringWeights
from inference.interface import Event, GenerationRequest, Listener, SamplingParams
from steering.formats import read_config
from steering.spec import SteeringPart, SteeringSpec

GREEDY = SamplingParams(temperature=0.0)
ON_VLLM = find_spec("vllm") is not None
"""True in the environment of `make test-vllm`."""
not_on_vllm = pytest.mark.skipif(ON_VLLM, reason="the engine on vLLM does it in another way, or not: docs/engines.md")


class GivenDirections(SteeringWeights):
    """Weights whose decoder direction, (d_model,), is `direction(part)` for every feature of the part."""

    def __init__(self, direction: Callable[[SteeringPart], Tensor]) -> None:
        self._direction = direction

    def directions(self, part: SteeringPart) -> Tensor:
        return self._direction(part).expand(len(part.changes), -1)


@dataclass
class Collected:
    """Submits requests and waits for their events."""

    events: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    arrived: threading.Condition = field(default_factory=threading.Condition)
    ids: Iterator[int] = field(default_factory=count)
    engine: Any = field(init=False)
    """A ContinuousEngine, or a VllmEngine."""

    def listen(self, events: list[Event]) -> None:
        with self.arrived:
            for event in events:
                self.events[event.request_id].append(event)
            self.arrived.notify_all()

    def submit(self, prompt: Sequence[int], steering: SteeringSpec | None = None, **kwargs: object) -> str:
        request_id = f"r{next(self.ids)}"
        defaults: dict[str, object] = {"max_new_tokens": 16, "sampling": GREEDY}
        self.engine.submit(GenerationRequest(request_id, prompt, steering=steering, **(defaults | kwargs)))  # type: ignore[arg-type]
        return request_id

    def wait(self, request_id: str, kind: str = "last", timeout_s: float = 60) -> list[Event]:
        def done() -> bool:
            return any(event.is_last or event.kind == kind for event in self.events[request_id])

        with self.arrived:
            assert self.arrived.wait_for(done, timeout_s), f"{request_id} got only {self.events[request_id]}"
            return list(self.events[request_id])

    def tokens(self, request_id: str) -> list[int]:
        events = self.wait(request_id)
        assert events[-1].kind == "finished", events[-1]
        return [token for event in events if event.kind == "delta" for token in event.data["token_ids"]]

    def text(self, request_id: str) -> str:
        return "".join(event.data["text"] for event in self.wait(request_id) if event.kind == "delta")

    def greedy(self, jobs: Sequence[tuple[list[int], SteeringSpec | None]], new_tokens: int) -> list[list[int]]:
        ids = [self.submit(prompt, steering, max_new_tokens=new_tokens) for prompt, steering in jobs]
        return [self.tokens(request_id) for request_id in ids]

    def cached_tokens(self, request_id: str) -> int:
        return int(self.wait(request_id, "started")[0].data["cached_tokens"])


@contextmanager
def run_engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    sae: Path,
    limits: EngineLimits = EngineLimits(max_requests=16, max_batch_tokens=256, cache_tokens=8192),  # noqa: B008
    weights: SteeringWeights | None = None,
    collected: Collected | None = None,
) -> Iterator[Collected]:
    collected = collected or Collected()
    config = read_config(sae)
    weights = weights or SteeringWeights(lambda _place: config)
    start = start_vllm if ON_VLLM else ContinuousEngine
    collected.engine = start(model, tokenizer, collected.listen, weights, limits)
    try:
        yield collected
    finally:
        collected.engine.close()


def start_vllm(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    listener: Listener,
    weights: SteeringWeights,
    limits: EngineLimits,
    **options: Any,
) -> Any:
    """The engine on vLLM with the model, from a folder, not compiled."""
    from inference.vllm.arguments import set_environment

    set_environment(compiled=False)
    from inference.vllm.engine import VllmEngine

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        dtype = str(model.dtype).removeprefix("torch.")
        return VllmEngine(Path(folder), tokenizer, listener, weights, limits, dtype, **{"compiled": False} | options)

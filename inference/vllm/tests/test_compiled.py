"""A compiled model steers as one that is not, and one compiled without our operator is not served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from vllm.config import VllmConfig

from inference.engine.limits import EngineLimits
from inference.engine.steering.weights import SteeringWeights
from inference.tests.engines import Collected, start_vllm
from inference.tests.test_engine_steering import STEERINGS, prompts, reference, spec
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer
from inference.vllm.names import CONFIG
from steering.formats import read_config

LIMITS = EngineLimits(max_requests=16, max_batch_tokens=256, cache_tokens=8192)


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sae(tmp_path_factory.mktemp("sae"))


@pytest.fixture(scope="module")
def compiled(sae: Path) -> Iterator[Collected]:
    config = read_config(sae)
    collected = Collected()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TORCH_COMPILE_DISABLE", raising=False)
        weights = SteeringWeights(lambda _place: config)
        collected.engine = start_vllm(tiny_model(), tiny_tokenizer(), collected.listen, weights, LIMITS, compiled=True)
    yield collected
    collected.engine.close()


def test_16_requests_half_of_them_steered_get_what_each_gets_alone(compiled: Collected, sae: Path) -> None:
    jobs = [(prompt, STEERINGS[i % 4] if i % 2 else {}) for i, prompt in enumerate(prompts(16, 20))]
    together = compiled.greedy([(prompt, spec(strengths)) for prompt, strengths in jobs], new_tokens=16)
    assert together == [reference(sae, prompt, strengths, 16) for prompt, strengths in jobs]


def test_our_values_are_a_part_of_the_key_of_compiled_models() -> None:
    values: list[Any] = [{}, {CONFIG: {"hooks": "a"}}, {CONFIG: {"hooks": "b"}}]
    keys = [VllmConfig(additional_config=own).compute_hash() for own in values]
    assert len(set(keys)) == 3


def test_a_model_that_does_not_pass_its_hook_points_is_not_served(sae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of another build, taken from vLLM's cache, would not."""
    config = read_config(sae)
    own: dict[str, Any] = {"worker_cls": "inference.vllm.tests.deaf_worker.DeafWorker"}
    monkeypatch.setattr("inference.vllm.engine.engine_arguments", with_own(own))
    with pytest.raises(RuntimeError):
        start_vllm(tiny_model(), tiny_tokenizer(), lambda _events: None, SteeringWeights(lambda _place: config), LIMITS)


def with_own(own: dict[str, Any]) -> Any:
    from inference.vllm.arguments import engine_arguments

    return lambda *args, **options: engine_arguments(*args, **options) | own

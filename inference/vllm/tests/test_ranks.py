"""A model on two ranks answers as one on one: each rank steers its part of the model."""

from pathlib import Path

import pytest

from inference.engine.limits import EngineLimits
from inference.engine.loading import load
from inference.tests.engines import Collected, start_vllm
from inference.tests.test_architectures import PROMPT, plain_model, save_small_model
from inference.tests.test_steering_in_full import KINDS, PlainHooks, Written, steerings, written  # noqa: F401
from inference.vllm.arguments import Parallel
from steering.spec import SteeringSpec

LIMITS = EngineLimits(max_requests=16, max_batch_tokens=40, cache_tokens=4096)
TWO_HEADS = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32, "num_hidden_layers": 4}
NEW = 8


@pytest.fixture(autouse=True)
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks on one node of memory, which vLLM allows for tests."""
    monkeypatch.setenv("VLLM_CPU_SIM_MULTI_NUMA", "1")


@pytest.mark.parametrize("parallel", [Parallel(tensor=2), Parallel(pipeline=2)], ids=["tensor", "pipeline"])
def test_two_ranks_steer_as_one(parallel: Parallel, written: Written, tmp_path: Path) -> None:  # noqa: F811
    row = save_small_model("llama", tmp_path / "model", **TWO_HEADS)
    model, tokenizer = load(row.path, row.dtype, row.device)
    collected = Collected()
    collected.engine = start_vllm(model, tokenizer, collected.listen, written.weights(), LIMITS, parallel=parallel)
    try:
        specs = [SteeringSpec.of(parts) for parts in steerings(written)]
        answers = collected.greedy([(PROMPT, spec) for spec in specs], new_tokens=NEW)
    finally:
        collected.engine.close()
    plain = plain_model(row)
    assert answers == [PlainHooks(written, parts, PROMPT, plain).generate(plain, NEW) for parts in steerings(written)]

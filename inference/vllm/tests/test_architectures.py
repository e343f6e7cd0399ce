"""Every architecture that miLLM hooks in vLLM, at every hook point, against `generate` with a plain hook."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.loading import load
from inference.tests.engines import run_engine
from inference.tests.test_architectures import (
    LIMITS,
    ONE_HEAD,
    PROMPT,
    WEIGHTS,
    hooked,
    plain_model,
    save_small_model,
    spec_at,
    vector,
)
from inference.tests.tiny import tiny_sae
from inference.worker.engines.on_vllm import ARCHITECTURES
from steering.architectures import HOOK_POINTS


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_each_hook_point_steers_as_a_plain_hook_does(model_type: str, tmp_path: Path) -> None:
    row = save_small_model(model_type, tmp_path / "model", **ONE_HEAD)
    model, tokenizer = load(row.path, row.dtype, row.device)
    jobs: list[Any] = [(PROMPT, None), *[(PROMPT, spec_at(point)) for point in HOOK_POINTS]]
    with run_engine(model, tokenizer, tiny_sae(tmp_path / "sae"), LIMITS, WEIGHTS) as engine:
        together = engine.greedy(jobs, new_tokens=12)
    expected, plain = [], plain_model(row)
    ids = torch.tensor([PROMPT])
    for point in (None, *HOOK_POINTS):
        with hooked(plain, point, vector(point) if point else None):
            answer: Any = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
            expected.append(answer[0, len(PROMPT) :].tolist())
    assert together == expected
    assert len({tuple(tokens) for tokens in expected}) >= len(HOOK_POINTS)

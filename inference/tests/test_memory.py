"""When memory is short: wait, fail what was in the step, go on; never a wrong answer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.engine import EngineLimits
from inference.interface import ContextLengthExceeded
from inference.tests.engines import run_engine
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer

PROMPTS = [[i, *range(2, 102)] for i in range(2, 14)]


def test_requests_that_do_not_fit_together_wait_for_each_other(tmp_path: Path) -> None:
    sae, new_tokens = tiny_sae(tmp_path), 40
    with run_engine(tiny_model(), tiny_tokenizer(), sae, EngineLimits(8, 256, cache_tokens=8192)) as roomy:
        expected = roomy.greedy([(prompt, None) for prompt in PROMPTS], new_tokens)
    with run_engine(tiny_model(), tiny_tokenizer(), sae, EngineLimits(8, 256, cache_tokens=384)) as narrow:
        assert narrow.greedy([(prompt, None) for prompt in PROMPTS], new_tokens) == expected
        with pytest.raises(ContextLengthExceeded, match="384 tokens"):
            narrow.submit(PROMPTS[0], max_new_tokens=300)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_a_step_out_of_memory_fails_its_requests_and_the_engine_goes_on(tmp_path: Path, error: Exception) -> None:
    model = tiny_model()
    failing = [False]

    def fail(_module: Any, _args: Any) -> None:
        if failing[0]:
            failing[0] = False
            raise error

    model.lm_head.register_forward_pre_hook(fail)
    with run_engine(model, tiny_tokenizer(), tiny_sae(tmp_path)) as engine:
        before = engine.greedy([(PROMPTS[0], None)], new_tokens=20)
        failing[0] = True
        ids = [engine.submit(prompt, max_new_tokens=20) for prompt in PROMPTS[:3]]
        ends = [engine.wait(request_id)[-1] for request_id in ids]
        assert "failed" in {end.kind for end in ends}
        assert {end.data["code"] for end in ends if end.kind == "failed"} == {"out_of_memory"}
        assert engine.greedy([(PROMPTS[0], None)], new_tokens=20) == before
        assert engine.engine.statistics().running == 0

"""The steps of a batch run in torch's inference mode; what else uses the same model runs outside of it, in between."""

from pathlib import Path
from typing import Any

import torch

from inference.engine.loading import load
from inference.engine.prompt_reader import PromptReader
from inference.tests.engines import run_engine
from inference.tests.test_architectures import LIMITS, PROMPT, logprobs_of, plain_model, save_small_model
from inference.tests.tiny import tiny_sae

# The rotary embedding keeps what it computed for a long text, and writes into its buffer in every pass.
LONG_ROPE: dict[str, Any] = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 2.5, 3.0, 4.0],
        "original_max_position_embeddings": len(PROMPT) + 6,
    },
    "original_max_position_embeddings": len(PROMPT) + 6,
}


def test_a_step_on_a_cpu_runs_in_inference_mode(tmp_path: Path) -> None:
    row = save_small_model("llama", tmp_path / "model")
    model, tokenizer = load(row.path, row.dtype, row.device)
    modes: set[bool] = set()
    model.register_forward_hook(lambda *_: modes.add(torch.is_inference_mode_enabled()))
    with run_engine(model, tokenizer, tiny_sae(tmp_path / "sae"), LIMITS) as engine:
        engine.greedy([(PROMPT, None)], new_tokens=4)
    assert modes == {True}


def test_a_model_that_keeps_what_it_computed_in_a_step_is_read_and_answers_again(tmp_path: Path) -> None:
    row = save_small_model("phi3", tmp_path / "model", **LONG_ROPE)
    exact = logprobs_of(plain_model(row), PROMPT)
    model, tokenizer = load(row.path, row.dtype, row.device)
    reader, answers = PromptReader(model), []
    with run_engine(model, tokenizer, tiny_sae(tmp_path / "sae"), LIMITS) as engine:
        for _ in range(2):
            answers += engine.greedy([(PROMPT, None)], new_tokens=12)  # beyond the length of the short factors
            found = torch.tensor([one for one, _ in reader.prompt_logprobs(PROMPT, None, top=0)])
            torch.testing.assert_close(found, exact, atol=2e-3, rtol=1e-3)
    assert len(answers) == 2
    assert answers[0] == answers[1]

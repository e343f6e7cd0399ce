"""The tokens that a direction promotes: W_U · (γ ⊙ d), in every architecture."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from inference.engine.reading import logit_lens
from inference.engine.reading.logit_lens import promoted_by_each, promoted_tokens
from inference.tests.tiny import tiny_model
from steering.architectures import ARCHITECTURES, architecture

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_a_direction_is_scaled_by_the_final_norm_and_read_by_the_unembedding(model_type: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SIZES)).eval()
    norm = model.get_submodule(architecture(model_type).final_norm)
    with torch.no_grad():
        for parameter in norm.parameters():  # weight, and a bias where there is one
            parameter.copy_(torch.randn(32))
    direction = torch.randn(32)
    scale = norm.weight.detach() + 1 if model_type.startswith("gemma") else norm.weight.detach()
    logits = [float((row * scale * direction).sum()) for row in model.get_output_embeddings().weight.detach()[:60]]
    ranked = sorted(range(60), key=lambda token: -logits[token])
    found = promoted_tokens(model, direction, vocabulary=60, top=5)
    for told, best in [(found.promoted, ranked[:5]), (found.suppressed, ranked[::-1][:5])]:
        assert [token for token, _ in told] == best
        assert [logit for _, logit in told] == pytest.approx([logits[token] for token in best], abs=1e-4)


def test_a_direction_that_is_added_to_the_last_residual_stream_raises_the_tokens_that_it_promotes() -> None:
    model = tiny_model()
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    [(best, _), *_] = promoted_tokens(model, direction, vocabulary=320, top=5).promoted
    with torch.no_grad():
        stream = model(torch.tensor([[5, 9]]), output_hidden_states=True).hidden_states[-2][0, -1]
        logits = model.lm_head(model.model.norm(stream + 1e4 * direction))
    assert int(logits.argmax()) == best


def test_many_directions_at_once_promote_what_each_promotes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, directions = tiny_model(), torch.randn(7, 32, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(logit_lens, "LOGITS", 3 * 320)  # three directions at a time
    for direction, found in zip(directions, promoted_by_each(model, directions, vocabulary=320, top=4), strict=True):
        alone = promoted_tokens(model, direction, vocabulary=320, top=4)
        for side in ("promoted", "suppressed"):
            assert [token for token, _ in getattr(found, side)] == [token for token, _ in getattr(alone, side)]
            values = [value for _, value in getattr(alone, side)]
            assert [value for _, value in getattr(found, side)] == pytest.approx(values, abs=1e-4)

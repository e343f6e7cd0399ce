"""Every architecture of the table, at every hook point: the engine against `generate` with a plain hook.

The models are small and random, but of the real classes.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from inference.encoder import Encoder
from inference.tests.engines import run_engine
from inference.tests.tiny import D_MODEL, tiny_sae, tiny_tokenizer
from steering.architectures import ARCHITECTURES, HOOK_POINTS
from steering.spec import SteeringSpec

LAYER = 1
SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": D_MODEL,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "eos_token_id": 1,
    "bos_token_id": 0,
    "pad_token_id": 1,
}
OWN: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": 256},
    "gpt_neox": {"rotary_pct": 0.5},
    "mistral": {"sliding_window": 16},
    "mixtral": {"sliding_window": None, "num_local_experts": 4},
    "gemma2": {"sliding_window": 16, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": 16, "query_pre_attn_scalar": 8},
    "phi": {"partial_rotary_factor": 0.5},
}
NO_GROUPS = {"gpt2", "gpt_neox"}  # their attention has as many key heads as query heads
NO_HEAD_DIM = {"gpt2", "gpt_neox", "phi", "phi3", "olmo2", "qwen2", "smollm3", "granite"}
# Where a block keeps what it adds to the residual stream, told anew here and not taken from the table.
MLP = {"gemma2": "post_feedforward_layernorm", "gemma3_text": "post_feedforward_layernorm"}
MLP["olmo2"] = "post_feedforward_layernorm"
ATTENTION = {"gemma2": "post_attention_layernorm", "gemma3_text": "post_attention_layernorm"}
ATTENTION |= {"olmo2": "post_attention_layernorm", "gpt2": "attn", "gpt_neox": "attention"}


def small_model(model_type: str) -> PreTrainedModel:
    torch.manual_seed(0)
    options = SMALL | OWN.get(model_type, {})
    if model_type in NO_HEAD_DIM:
        options.pop("head_dim")
    if model_type in NO_GROUPS:
        options.pop("num_key_value_heads")
    config = AutoConfig.for_model(model_type, **options)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


def hook_plainly(model: PreTrainedModel, hook_point: str, vector: torch.Tensor) -> None:
    model_type = model.config.model_type
    layers: Any = next(module for name, module in model.named_modules() if name.endswith((".layers", ".h")))
    block = layers[LAYER]

    def add(_module: Any, _args: Any, output: Any) -> Any:
        return (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector

    if hook_point == "hook_resid_pre":  # the residual stream before a block is that after the block before it
        layers[LAYER - 1].register_forward_hook(add)
    elif hook_point == "hook_resid_post":
        block.register_forward_hook(add)
    else:
        names = MLP if hook_point == "hook_mlp_out" else ATTENTION
        default = "mlp" if hook_point == "hook_mlp_out" else "self_attn"
        block.get_submodule(names.get(model_type, default)).register_forward_hook(add)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_every_hook_point_steers_as_a_plain_hook_does(model_type: str, tmp_path: Path) -> None:
    prompt = [(7 * i) % 300 + 10 for i in range(24)]
    vectors = {
        point: torch.randn(D_MODEL, generator=torch.Generator().manual_seed(i)) * 3
        for i, point in enumerate(HOOK_POINTS)
    }
    specs = {point: SteeringSpec.build("s", point, LAYER, f"blocks.{LAYER}.{point}", {1: 1.0}) for point in HOOK_POINTS}
    model = small_model(model_type)
    encoder = Encoder(model)
    with run_engine(
        model, tiny_tokenizer(), tiny_sae(tmp_path / "sae"), directions=lambda spec: vectors[spec.sae_fingerprint]
    ) as collected:
        together = collected.greedy([(prompt, None), *[(prompt, spec) for spec in specs.values()]], new_tokens=12)
    expected = []
    for point in (None, *HOOK_POINTS):
        plain = small_model(model_type)
        if point:
            hook_plainly(plain, point, vectors[point])
        ids = torch.tensor([prompt])
        answer: Any = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        expected.append(answer[0, len(prompt) :].tolist())
        with torch.no_grad():
            own = plain(ids).logits[0].log_softmax(-1)[:-1].gather(1, ids[0, 1:].unsqueeze(1)).squeeze(1)
        found = encoder.prompt_logprobs(prompt, (specs[point], vectors[point]) if point else None, top=0)  # type: ignore[arg-type]
        torch.testing.assert_close(torch.tensor([one for one, _ in found]), own, atol=2e-3, rtol=1e-3)
    assert together == expected
    assert len({tuple(tokens) for tokens in expected}) == 1 + len(HOOK_POINTS)

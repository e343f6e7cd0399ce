"""Every architecture of the table, loaded from files as a worker does, against `generate` with a plain hook.

The models are small and random, but of the real classes.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.hooks import RemovableHandle
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from inference.engine import loading
from inference.engine.attention.registered import CAPPED
from inference.engine.engine import EngineLimits
from inference.engine.loading import load, model_class, pick_attention, rehearse
from inference.engine.prompt_reader import PromptReader
from inference.engine.steering.passes import PassSteering
from inference.models import LanguageModel
from inference.tests.engines import GivenDirections, run_engine
from inference.tests.tiny import D_MODEL, tiny_sae, tiny_tokenizer
from inference.worker.memory import check_memory
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
ONE_HEAD: dict[str, Any] = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": D_MODEL}
"""The smallest head that vLLM computes on a CPU has 32 dimensions."""
OWN: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": 256, "scale_attn_by_inverse_layer_idx": True},
    "granite": {"attention_multiplier": 0.2, "residual_multiplier": 0.7, "logits_scaling": 2.0},
    "gpt_neox": {"rotary_pct": 0.5},
    "mistral": {"sliding_window": 16},
    "mixtral": {"sliding_window": None, "num_local_experts": 4},
    # Small enough that scores reach them: without the caps other tokens come.
    "gemma2": {
        "sliding_window": 16,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    },
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


LIMITS = EngineLimits(max_requests=16, max_batch_tokens=40, cache_tokens=8192)  # prompts come in parts
PROMPT = [(7 * i) % 300 + 10 for i in range(24)]


def save_small_model(model_type: str, folder: Path, **own: Any) -> LanguageModel:
    """In a folder, with a tokenizer; the row of it."""
    torch.manual_seed(0)
    options = SMALL | OWN.get(model_type, {}) | own
    if model_type in NO_HEAD_DIM:
        options.pop("head_dim")
    if model_type in NO_GROUPS:
        options.pop("num_key_value_heads")
    config = AutoConfig.for_model(model_type, **options)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return LanguageModel(name=model_type, source=str(folder), dtype="float32", device="cpu")


def plain_model(row: LanguageModel) -> PreTrainedModel:
    """As transformers itself has it, with the attention that the class is written with."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        row.source, attn_implementation="eager", dtype=getattr(torch, row.dtype)
    )
    return model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are computed by one thread sooner than two have met, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def hooked(model: PreTrainedModel, hook_point: str | None, vector: torch.Tensor | None = None) -> Iterator[None]:
    handle = hook_plainly(model, hook_point, vector) if hook_point and vector is not None else None
    yield
    if handle:
        handle.remove()


def hook_plainly(model: PreTrainedModel, hook_point: str, vector: torch.Tensor) -> RemovableHandle:
    model_type = model.config.model_type
    layers: Any = next(module for name, module in model.named_modules() if name.endswith((".layers", ".h")))
    block = layers[LAYER]

    def add(_module: Any, _args: Any, output: Any) -> Any:
        return (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector

    if hook_point == "hook_resid_pre":  # the residual stream before a block is that after the block before it
        hooked: Any = layers[LAYER - 1]
    elif hook_point == "hook_resid_post":
        hooked = block
    else:
        names = MLP if hook_point == "hook_mlp_out" else ATTENTION
        default = "mlp" if hook_point == "hook_mlp_out" else "self_attn"
        hooked = block.get_submodule(names.get(model_type, default))
    handle: RemovableHandle = hooked.register_forward_hook(add)
    return handle


def vector(hook_point: str) -> torch.Tensor:
    seed = HOOK_POINTS.index(hook_point)
    return torch.randn(D_MODEL, generator=torch.Generator().manual_seed(seed)) * 3


WEIGHTS = GivenDirections(lambda part: vector(part.sae_fingerprint))


def spec_at(hook_point: str) -> SteeringSpec:
    spec = SteeringSpec.build("s", hook_point, LAYER, f"blocks.{LAYER}.{hook_point}", {1: 1.0})
    assert spec is not None
    return spec


def embedding_of(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        hidden: torch.Tensor = model.base_model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
    return hidden[0].float().mean(dim=0)


def embeddings(reader: PromptReader, texts: list[list[int]]) -> list[torch.Tensor]:
    found = {index: told for batch in reader.embeddings(texts) for index, told in batch}
    return [torch.frombuffer(bytearray(base64.b64decode(found[i])), dtype=torch.float32) for i in range(len(texts))]


def logprobs_of(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    tokens = torch.tensor([ids])
    with torch.no_grad():
        logits: torch.Tensor = model(tokens).logits[0].float()
    return logits.log_softmax(-1)[:-1].gather(1, tokens[0, 1:].unsqueeze(1)).squeeze(1)


FULL: dict[str, Any] = {"layer_types": ["full_attention"] * 3}  # no sliding window: attention request by request


@pytest.mark.parametrize(
    ("model_type", "own"), [*((name, {}) for name in sorted(ARCHITECTURES)), ("gemma2", FULL), ("qwen3", FULL)]
)
def test_what_is_loaded_answers_at_every_hook_point_as_a_plain_hook_does(
    model_type: str, own: dict[str, Any], tmp_path: Path
) -> None:
    row = save_small_model(model_type, tmp_path / "model", **own)
    rehearse(row.path, row.dtype, row.device)
    check_memory(row)
    model, tokenizer = load(row.path, row.dtype, row.device)
    reader = PromptReader(model)
    specs = {point: spec_at(point) for point in HOOK_POINTS}
    jobs: list[Any] = [(PROMPT, None), *[(PROMPT, spec) for spec in specs.values()]]
    sae = tiny_sae(tmp_path / "sae")
    with run_engine(model, tokenizer, sae, LIMITS, WEIGHTS) as engine:
        together = engine.greedy(jobs, new_tokens=12)
    expected, plain = [], plain_model(row)
    ids = torch.tensor([PROMPT])
    for point in (None, *HOOK_POINTS):
        with hooked(plain, point, vector(point) if point else None):
            answer: Any = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
            expected.append(answer[0, len(PROMPT) :].tolist())
            exact = logprobs_of(plain, PROMPT)
        found = reader.prompt_logprobs(PROMPT, PassSteering(specs[point], WEIGHTS) if point else None, top=0)
        torch.testing.assert_close(torch.tensor([one for one, _ in found]), exact, atol=2e-3, rtol=1e-3)
    assert together == expected
    assert len({tuple(tokens) for tokens in expected}) == 1 + len(HOOK_POINTS)
    texts = [PROMPT, PROMPT[:7]]
    for embedding, text in zip(embeddings(reader, texts), texts, strict=True):
        torch.testing.assert_close(embedding, embedding_of(plain, text), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_what_is_loaded_answers_in_bfloat16(model_type: str, tmp_path: Path) -> None:
    row = save_small_model(model_type, tmp_path / "model")
    row.dtype = "bfloat16"
    model, tokenizer = load(row.path, row.dtype, row.device)
    assert {weights.dtype for weights in model.parameters()} == {torch.bfloat16}
    reader, spec = PromptReader(model), spec_at("hook_resid_post")
    sae = tiny_sae(tmp_path / "sae")
    with run_engine(model, tokenizer, sae, LIMITS, WEIGHTS) as engine:
        answers = engine.greedy([(PROMPT, None), (PROMPT, spec)], new_tokens=12)
    assert answers[0] != answers[1]
    plain = plain_model(row)
    for steering, answer in ((None, answers[0]), (PassSteering(spec, WEIGHTS), answers[1])):
        whole = PROMPT + answer
        with hooked(plain, "hook_resid_post", vector("hook_resid_post").bfloat16() if steering else None):
            expected = logprobs_of(plain, whole)
        found = torch.tensor([one for one, _ in reader.prompt_logprobs(whole, steering, top=0)])
        assert (found - expected).abs().median() < 0.1
        # Greedy, but for what rounding decides: each token is among the most probable.
        best = torch.tensor([ids[0][1] for _, ids in reader.prompt_logprobs(whole, steering, top=1)])
        assert (best - found)[len(PROMPT) - 1 :].max() < 0.5
    assert embeddings(reader, [PROMPT])[0].isfinite().all()


@pytest.mark.parametrize(
    ("model_type", "device", "dtype", "expected"),
    [
        ("llama", "cuda", torch.bfloat16, "flash_attention_2"),
        ("llama", "cuda", torch.float32, "sdpa"),  # FlashAttention computes in halves only
        ("llama", "cpu", torch.bfloat16, "sdpa"),
        ("gemma2", "cuda", torch.float16, "flash_attention_2"),
        ("gemma2", "cuda", torch.float32, CAPPED),
    ],
)
def test_the_attention_is_one_that_class_device_and_dtype_have(
    monkeypatch: pytest.MonkeyPatch, model_type: str, device: str, dtype: torch.dtype, expected: str
) -> None:
    monkeypatch.setattr(loading, "is_flash_attn_2_available", lambda: True)
    kind = model_class(AutoConfig.for_model(model_type))
    assert pick_attention(kind, torch.device(device), dtype) == expected

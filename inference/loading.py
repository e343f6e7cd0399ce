"""From a row to a model in memory: transformers, safetensors only, never code from a repository."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import is_flash_attn_2_available
from transformers.utils.logging import disable_progress_bar

from inference.models import LanguageModel


def load(row: LanguageModel) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model, in `row.dtype` on `row.device`, and its tokenizer."""
    disable_progress_bar()  # a worker's log is no terminal
    device = pick_device(row.device)
    options = {"trust_remote_code": False, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(row.path, **options)
    # A shape that is not the configuration's is an error here, and missing weights are no random ones.
    model, told = AutoModelForCausalLM.from_pretrained(
        row.path,
        dtype=pick_dtype(row.dtype, device),
        use_safetensors=True,
        attn_implementation=pick_attention(device),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # transformers' own error does not say which: it is below
        **options,
    )
    if mismatched := sorted(told["mismatched_keys"]):
        name, found, expected = mismatched[0]
        shapes = f"{name} has the shape {list(found)} in the files, {list(expected)} by config.json"
        raise ValueError(f"{len(mismatched)} weights have another shape than the configuration says: {shapes}")
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"the files lack {len(missing)} weights, {missing[0]} among them")
    if broken := next((name for name, one in model.named_parameters() if not torch.isfinite(one).all()), None):
        raise ValueError(f"the weights of {broken} are not finite")
    return model.to(device).eval(), tokenizer


def pick_device(name: str) -> torch.device:
    """`auto` is the first accelerator, else the CPU; a device that is not here is an error."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_attention(device: torch.device) -> str:
    """FlashAttention where it is installed and there is a GPU for it, else torch's own."""
    return "flash_attention_2" if device.type == "cuda" and is_flash_attn_2_available() else "sdpa"


def pick_dtype(name: str, device: torch.device) -> "torch.dtype | str":
    """`auto` is the dtype of the files; on a CPU that has no bfloat16 of its own, where it is slow, float32."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" and not _cpu_has_bfloat16() else "auto"
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype {name!r} is unknown: expected auto, float32, bfloat16 or float16")
    return dtype


def _cpu_has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def vocabulary(model: PreTrainedModel) -> int:
    """How many logits the model has, which may be more than its tokenizer has tokens."""
    return int(model.get_output_embeddings().weight.size(0))


def embedded_tokens(model: PreTrainedModel) -> int:
    """How many tokens the model can read, which may be fewer than its tokenizer has."""
    return int(model.get_input_embeddings().weight.size(0))


def eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The tokens that end an answer: the model's own and the tokenizer's, since either may be its base model's.

    Without any of them, [-1].
    """
    configured = model.generation_config.eos_token_id if model.generation_config else None
    own = configured if isinstance(configured, list) else [configured]
    found = {one for one in (*own, tokenizer.eos_token_id) if one is not None and 0 <= one < vocabulary(model)}
    return sorted(found) or [-1]

"""The loading of a model from a folder: by transformers, from safetensors only. Code of its repository never runs."""

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_utils import str_to_torch_dtype
from transformers.utils import is_flash_attn_2_available
from transformers.utils.logging import disable_progress_bar

from inference.engine.attention.registered import CAPPED
from inference.weights import BrokenWeights, StoredWeight, shape_message, stored_weights
from steering.architectures import architecture

LOCAL = {"trust_remote_code": False, "local_files_only": True}
FLASH_DTYPES = (torch.float16, torch.bfloat16)  # all that FlashAttention computes in


def load(path: Path, dtype: str = "auto", device: str = "auto") -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model in the folder `path` and its tokenizer; see `pick_dtype` and `pick_device`. Raises BrokenWeights."""
    tokenizer = AutoTokenizer.from_pretrained(path, **LOCAL)
    # Straight to the device: the host's memory need not hold it.
    model = _from_pretrained(path, dtype, device, stored_weights(path))
    if broken := next((name for name, one in model.named_parameters() if not torch.isfinite(one).all()), None):
        raise BrokenWeights(f"the weights of {broken} are not finite")
    return model.eval(), tokenizer


def rehearse(path: Path, dtype: str = "auto", device: str = "auto") -> None:
    """Do all that `load` does except reading the weights, so that it fails early, while another model is served.

    The loading of transformers compares the headers of the files with the model of the configuration.
    Raises BrokenWeights, or what transformers raises.
    """
    AutoTokenizer.from_pretrained(path, **LOCAL)
    stored = stored_weights(path)
    empty = {name: torch.empty(one.shape, dtype=torch_dtype(name, one), device="meta") for name, one in stored.items()}
    _from_pretrained(path, dtype, device, stored, state_dict=empty)


def _from_pretrained(
    path: Path,
    dtype_name: str,
    device_name: str,
    stored: Mapping[str, StoredWeight],
    state_dict: Mapping[str, torch.Tensor] | None = None,
) -> PreTrainedModel:
    """The model of the files in `path`; with a `state_dict` the model of these tensors, on torch's `meta` device."""
    disable_progress_bar()  # a worker's log is no terminal
    config = read_config(path)
    device = pick_device(device_name)
    dtype = pick_dtype(dtype_name, device, config, stored)
    model, info = model_class(config).from_pretrained(
        path if state_dict is None else None,
        config=config,
        state_dict=state_dict,
        dtype=dtype,
        use_safetensors=True,
        attn_implementation=pick_attention(model_class(config), device, dtype),
        device_map={"": device if state_dict is None else torch.device("meta")},
        # Both are errors, raised below: of mismatched sizes, transformers would name the tensors in its log only.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **LOCAL,
    )
    if wrong := sorted(info["mismatched_keys"]):
        raise BrokenWeights(_several(shape_message(*wrong[0]), len(wrong)))
    if missing := sorted(info["missing_keys"]):
        raise BrokenWeights(f"the files lack {len(missing)} weights, {missing[0]} among them")
    loaded: PreTrainedModel = model
    return loaded


def _several(message: str, count: int) -> str:
    return message if count == 1 else f"{message}; so are {count - 1} more"


def torch_dtype(name: str, weight: StoredWeight) -> torch.dtype:
    """The dtype of a tensor in the files. Raises BrokenWeights where torch has no such dtype."""
    if weight.dtype not in str_to_torch_dtype:
        known = ", ".join(sorted(str_to_torch_dtype))
        raise BrokenWeights(f"{name} in {weight.file} is of {weight.dtype}: expected one of {known}")
    found: torch.dtype = str_to_torch_dtype[weight.dtype]
    return found


def read_config(path: Path) -> PreTrainedConfig:
    """The configuration in a model's folder. Raises UnsupportedArchitecture, or what transformers raises."""
    config = AutoConfig.from_pretrained(path, **LOCAL)
    architecture(config.model_type)
    return config


def model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """transformers' class for the configuration, with a language model's head."""
    found: type[PreTrainedModel] = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return found


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` is the first accelerator, else the CPU. A missing device fails on first use."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_attention(model: type[PreTrainedModel], device: torch.device, dtype: torch.dtype) -> str:
    """FlashAttention where it is installed and fits model and dtype, else torch's `sdpa`, else ours: see `CAPPED`."""
    can_flash = device.type == "cuda" and dtype in FLASH_DTYPES and model._supports_flash_attn
    if can_flash and is_flash_attn_2_available():
        return "flash_attention_2"
    return "sdpa" if model._supports_sdpa else CAPPED


def pick_dtype(
    name: str, device: torch.device, config: PreTrainedConfig, stored: Mapping[str, StoredWeight]
) -> torch.dtype:
    """The dtype of a name; `auto` is the dtype of the files, or float32 on a CPU without instructions for bfloat16."""
    if name == "auto":
        if device.type == "cpu" and not cpu_has_bfloat16():
            return torch.float32
        configured = getattr(config, "dtype", None)
        return configured if isinstance(configured, torch.dtype) else _stored_dtype(stored)
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype {name!r} is unknown: expected auto, float32, bfloat16 or float16")
    return dtype


def _stored_dtype(stored: Mapping[str, StoredWeight]) -> torch.dtype:
    """The dtype of most floats in the files."""
    sizes: dict[torch.dtype, int] = {}
    for name, weight in stored.items():
        dtype = torch_dtype(name, weight)
        if dtype.is_floating_point:
            sizes[dtype] = sizes.get(dtype, 0) + weight.size
    return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)


def cpu_has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def vocabulary(model: PreTrainedModel) -> int:
    """The number of logits of the model, which may be larger than the number of its tokenizer's tokens."""
    return int(model.get_output_embeddings().weight.size(0))


def embedded_tokens(model: PreTrainedModel) -> int:
    """The number of tokens that the model can read, which may be smaller than the number of its tokenizer's tokens."""
    return int(model.get_input_embeddings().weight.size(0))

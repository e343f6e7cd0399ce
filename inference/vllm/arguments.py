"""The arguments with which vLLM loads a model."""

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedConfig

from inference.engine.limits import EngineLimits
from inference.interface import request_tokens
from inference.vllm import names

ENVIRONMENT = {
    # miLLM's steering is in the model runner V1: see `inference.vllm.worker`.
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    "VLLM_NO_USAGE_STATS": "1",  # it would send statistics of its use to its makers
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Parallel:
    """The number of devices that share each block (tensor parallel), and the blocks (pipeline parallel)."""

    tensor: int = 1
    pipeline: int = 1


def cache_numbers(config: PreTrainedConfig) -> int:
    """The numbers in the KV cache of one token."""
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * keys * head_size)


def set_environment(*, compiled: bool) -> None:
    """Set vLLM's environment variables where the user set none, before vLLM is imported."""
    # Even where the model is not compiled, vLLM compiles small functions: it would need a compiler on the machine.
    uncompiled = {} if compiled else {"TORCH_COMPILE_DISABLE": "1"}
    for name, value in (ENVIRONMENT | uncompiled).items():
        os.environ.setdefault(name, value)


def engine_arguments(
    path: Path,
    dtype: str,
    limits: EngineLimits,
    config: PreTrainedConfig,
    special: Collection[int],
    *,
    parallel: Parallel = Parallel(),
    compiled: bool = True,
) -> dict[str, Any]:
    """The arguments for `AsyncEngineArgs`; `config` is the language model's, `special` are ids of special tokens."""
    from vllm.platforms import current_platform

    block = 128 if current_platform.is_cpu() else 16
    token_bytes = cache_numbers(config) * getattr(torch, dtype).itemsize
    blocks = -(-limits.cache_tokens // block) + 1  # vLLM keeps one block as a blank
    return {
        "model": str(path),
        "dtype": dtype,
        "max_model_len": request_tokens(config.max_position_embeddings, limits.cache_tokens),
        "max_num_seqs": limits.max_requests,
        "max_num_batched_tokens": max(limits.max_batch_tokens, limits.max_requests),
        "block_size": block,
        "num_gpu_blocks_override": blocks,
        # In place of a share of all memory, which vLLM would refuse to start without: the other number bounds it.
        "kv_cache_memory_bytes": blocks * block * token_bytes // parallel.pipeline,
        "tensor_parallel_size": parallel.tensor,
        "pipeline_parallel_size": parallel.pipeline,
        "enforce_eager": not compiled,
        "enable_prefix_caching": True,
        "max_logprobs": 20,
        "logprobs_mode": "raw_logprobs",
        "worker_cls": "inference.vllm.worker.SteeredWorker",
        "additional_config": {names.CONFIG: {"special": sorted(special), "hooks": hooks_version()}},
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "load_format": "safetensors",
        "trust_remote_code": False,
        "generation_config": "vllm",  # sampling defaults are the web's
        "disable_log_stats": True,  # ours are read all the same
        # With one pool for several kinds of attention, a block would not be so many tokens.
        "disable_hybrid_kv_cache_manager": True,
    } | _compilation(compiled)


def _compilation(compiled: bool) -> dict[str, Any]:
    """On a GPU our operator runs between CUDA graphs, since it decides in Python what there is to do."""
    from vllm.config import CompilationConfig
    from vllm.platforms import current_platform

    if not compiled or current_platform.is_cpu():
        return {}
    splits = [*CompilationConfig._attention_ops, names.OPERATOR]
    return {"compilation_config": {"splitting_ops": splits, "cudagraph_mode": "PIECEWISE"}}


def generation_config(path: Path) -> GenerationConfig | None:
    """The generation_config.json in a model's folder, if there is one."""
    if not (path / "generation_config.json").is_file():
        return None
    return GenerationConfig.from_pretrained(path, local_files_only=True)


def hooks_version() -> str:
    """A name of the code of our hooks, so that a model compiled with another one is not taken from vLLM's cache."""
    source = resources.files("inference.vllm.steering").joinpath("hooks.py").read_bytes()
    return hashlib.sha256(source).hexdigest()[:16]

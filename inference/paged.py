"""The seam in transformers' continuous batching where steering enters.

Two things are added. Each token of the packed batch gets the row index of its request, as one more
line of the tensor in which the engine's small inputs lie (it is copied to the GPU with them and
keeps its address, so a captured CUDA graph reads it). And the hashes by which requests share the KV blocks of
a common prefix are seeded with the steering: a block that one steering wrote is never read under
another.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.cache_allocators.cache_allocator import CacheAllocator
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    ContinuousBatchProcessor,
    OutputRouter,
)
from transformers.generation.continuous_batching.input_outputs import (
    ContinuousBatchingAsyncIOs,
    ContinuousBatchingIOs,
    PagedAttentionArgs,
)
from transformers.generation.continuous_batching.requests import FutureRequestState, GenerationOutput

from inference import attention
from inference.attention import Plan, Share
from inference.sampling import BatchSampler
from steering.hook import ROWS

NO_MASK = torch.empty(1, 1, 1, 1)


def steered_manager(
    model: PreTrainedModel,
    generation_config: GenerationConfig,
    batching: ContinuousBatchingConfig,
    deliver: Callable[[list[GenerationOutput]], None],
    shared: Callable[[str, int], None],
) -> ContinuousBatchingManager:
    """A manager, not yet started, whose requests take `sampling`, `steering_row` and `steering_key`.

    `deliver` is called in the manager's thread with all outputs of one step, `shared` with the number of
    prompt tokens of a request that were found in the cache.
    """
    manager = model.init_continuous_batching(generation_config, batching)
    manager.logit_processor = BatchSampler()
    manager.output_router = StepRouter(deliver)
    processor = manager.batch_processor = manager._create_batch_processor()
    by_request = attention.takes(processor.cache)
    for inputs in _all_inputs(processor.inputs_and_outputs):
        # They are created deep inside: this adds methods, and takes away the mask that is not needed.
        inputs.__class__ = ByRequestIOs if by_request else SteeredIOs
        inputs.attention_mask = None if by_request else inputs.attention_mask
    if by_request:
        attention.install()
    _seed_prefixes(processor, shared)
    if processor.model_runner.pad_inputs:
        processor.logit_processor.skip_greedy = False  # a captured graph cannot branch
        manager.warmup()
    return manager


def _all_inputs(inputs: ContinuousBatchingIOs | ContinuousBatchingAsyncIOs) -> list[ContinuousBatchingIOs]:
    if isinstance(inputs, ContinuousBatchingIOs):
        return [inputs]
    return [io for pair in inputs.io_pairs for io in (pair.host_io, pair.device_io)]


class StepRouter(OutputRouter):
    """Hands all outputs of one step to one callable."""

    def __init__(self, deliver: Callable[[list[GenerationOutput]], None]) -> None:
        super().__init__()
        self._deliver = deliver

    def deliver(self, output: GenerationOutput) -> None:
        self._deliver([output])

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        self._deliver(outputs)


class SteeredIOs(ContinuousBatchingIOs):
    """Inputs whose last line holds the steering row of each token."""

    def prepare_batch_tensors(self, requests_in_batch: list[FutureRequestState], *args: Any, **kwargs: Any) -> None:
        super().prepare_batch_tensors(requests_in_batch, *args, **kwargs)
        rows: list[int] = []
        for future in requests_in_batch:
            row = future.state.logit_processor_kwargs.get("steering_row", 0)
            rows += [row] * future.query_length
        line = self._bulk_input_tensor[-1]
        line[: len(rows)] = torch.tensor(rows, dtype=torch.int32)
        line[len(rows) : self.num_q_tokens] = 0
        self.is_steered = any(rows)

    def get_model_kwargs(self, use_padding: bool = False) -> PagedAttentionArgs:
        kwargs: dict[str, Any] = super().get_model_kwargs(use_padding)
        if use_padding or self.is_steered:
            kwargs[ROWS] = self._bulk_input_tensor[-1, : self.num_q_tokens]
        return kwargs


class ByRequestIOs(SteeredIOs):
    """Inputs for the attention of `inference.attention`, which needs no packed reads and no mask."""

    def prepare_batch_tensors(self, requests_in_batch: list[FutureRequestState], *args: Any, **kwargs: Any) -> None:
        states = [(future.state, future.state.position_offset, future.query_length) for future in requests_in_batch]
        super().prepare_batch_tensors(requests_in_batch, *args, **(kwargs | {"max_kv_read": 0}))
        [allocator] = self.cache.cache_allocators.values()
        shares = [Share(past, query, allocator.block_table[state.request_id]) for state, past, query in states]
        write_index = self.write_index_storage[0, : self.true_write_sizes[0]]
        setattr(self.cache, attention.KEYS, Plan.of(shares, allocator, write_index))

    def get_model_kwargs(self, use_padding: bool = False) -> PagedAttentionArgs:
        # A mask of four dimensions is handed on as it is; without one the model would make one, for nothing.
        return {**super().get_model_kwargs(use_padding), "attention_mask": NO_MASK}  # type: ignore[typeddict-item]


def _seed_prefixes(processor: ContinuousBatchProcessor, shared: Callable[[str, int], None]) -> None:
    """Make the hashes of a request's KV blocks depend on its steering, when they are looked up and when written."""
    scheduler, cache = processor.scheduler, processor.cache

    def key_of(request_id: str) -> str:
        state = scheduler.active_requests.get(request_id) or scheduler.waiting_requests[request_id]
        return str(state.logit_processor_kwargs.get("steering_key", ""))

    def search(request_id: str, token_ids: list[int]) -> int:
        found: int = PagedAttentionCache.search_prefix_match(cache, request_id, seeded(token_ids, key_of(request_id)))
        shared(request_id, found)
        return found

    def mark(allocator: CacheAllocator, request_id: str, token_ids: list[int], blocks: int) -> None:
        CacheAllocator.mark_complete_blocks(allocator, request_id, seeded(token_ids, key_of(request_id)), blocks)

    cache.search_prefix_match = search
    for allocator in cache.cache_allocators.values():
        allocator.mark_complete_blocks = partial(mark, allocator)


def seeded(token_ids: list[int], key: str) -> list[int]:
    """`token_ids` with its first two replaced by 62 bits of a hash of them and the steering's key.

    The list is only hashed. Blocks hold more than two tokens, so every block's hash depends on the key;
    the replacements are negative, so that no unsteered prompt equals them.
    """
    if not key:
        return token_ids
    head = hashlib.blake2b(f"{key}:{token_ids[:2]}".encode(), digest_size=8).digest()
    halves = (int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little"))
    return [-1 - (half >> 1) for half in halves] + token_ids[2:]

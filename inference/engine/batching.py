"""The seam in transformers' continuous batching where steering enters.

Two things are added. Each token of the packed batch gets the row index of its request, as one more
line of the tensor in which the engine's small inputs lie (it is copied to the GPU with them and
keeps its address, so a captured CUDA graph reads it). And the hashes by which requests share the KV blocks of
a common prefix are seeded with the steering: a block that one steering wrote is never read under
another.
"""

import hashlib
import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
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
from transformers.generation.continuous_batching.requests import FutureRequestState, GenerationOutput, RequestState
from transformers.generation.continuous_batching.scheduler import Scheduler
from transformers.generation.continuous_batching.utils import CudaGraphBuffer

from inference.engine import attention
from inference.engine.attention import Plan, Share
from inference.engine.batch_entry import entry_of
from inference.engine.hooks import ROWS
from inference.engine.sampling import MAX_LOGPROBS, BatchSampler, log_probabilities
from inference.engine.token_tables import TokenTables

logger = logging.getLogger(__name__)

NO_MASK = torch.empty(1, 1, 1, 1)
# The token, its log-probability, of the most probable ones ids and theirs, and whether the token's score is finite.
OUTPUT_LINES = 3 + 2 * MAX_LOGPROBS


class BatchListener(Protocol):
    """The engine, as its batch sees it; every method is called in the batch's own thread."""

    def deliver(self, outputs: list[GenerationOutput]) -> None:
        """Take all outputs of one step."""

    def shared(self, request_id: str, tokens: int) -> None:
        """Learn that the first `tokens` tokens of a request's prompt were found in the cache."""

    def holds(self, request_id: str) -> bool:
        """Tell whether the request was submitted and has not left the batch yet."""

    def left(self, request_id: str) -> None:
        """Learn that a cancelled request takes part in no further step."""


def steered_manager(
    model: PreTrainedModel,
    generation_config: GenerationConfig,
    batching: ContinuousBatchingConfig,
    listener: BatchListener,
    tables: TokenTables,
) -> ContinuousBatchingManager:
    """A manager, not yet started, whose requests carry a `BatchEntry` under the keyword `batch_entry.KEY`."""
    manager = model.init_continuous_batching(generation_config, batching)
    sampler = manager.logit_processor = BatchSampler(tables)
    manager.output_router = StepRouter(listener.deliver)
    processor = manager.batch_processor = manager._create_batch_processor()
    by_request = attention.takes(processor.cache)
    for inputs in _all_inputs(processor.inputs_and_outputs):
        # They are created deep inside: this adds methods, and takes away the mask that is not needed.
        inputs.__class__ = ByRequestIOs if by_request else SteeredIOs
        inputs.attention_mask = None if by_request else inputs.attention_mask
        inputs.output_ids = inputs.output_ids.new_zeros(OUTPUT_LINES, inputs.output_ids.size(1))
        if inputs.device.type == "cpu" and model.device.type == "cuda":
            inputs.output_ids = inputs.output_ids.pin_memory()
    processor.model_runner._sample = partial(_choose, sampler)
    if by_request:
        attention.install()
    _seed_prefixes(processor, listener)
    _confirm_cancellations(processor.scheduler, listener)
    _guard_steps(processor)
    if processor.model_runner.pad_inputs:
        sampler.can_skip = False
        manager.warmup()
    return manager


def _choose(sampler: BatchSampler, scores: Tensor, output_ids: Tensor) -> None:
    """The next tokens into the first line of `output_ids`, what is known of their probabilities into the others.

    A NaN is the largest of its row, and so one among the logits is seen in the score of the token.
    """
    largest, chosen = scores[0].max(dim=-1)
    rows = chosen.size(0)
    output_ids[0, :rows].copy_(chosen)
    output_ids[-1, :rows].copy_(largest.isfinite())
    if sampler.raw is not None:
        lines = log_probabilities(sampler.raw, chosen)
        output_ids[1 : 1 + lines.size(0), :rows].copy_(lines)


def _all_inputs(inputs: ContinuousBatchingIOs | ContinuousBatchingAsyncIOs) -> list[ContinuousBatchingIOs]:
    if isinstance(inputs, ContinuousBatchingIOs):
        return [inputs]
    return [io for pair in inputs.io_pairs for io in (pair.host_io, pair.device_io)]


def forget_graphs(manager: ContinuousBatchingManager) -> None:
    """Have steps captured anew from the next one on: a hook was added that the CUDA graphs so far do not have."""
    manager.batch_processor.stale_graphs.set()


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
            rows += [entry_of(future.state).steering_row] * future.query_length
        line = self._bulk_input_tensor[-1]
        line[: len(rows)] = torch.tensor(rows, dtype=torch.int32)
        line[len(rows) : self.num_q_tokens] = 0
        self.is_steered = any(rows)

    def prepare_batch_update(self) -> tuple[list[FutureRequestState], list[int], list[float] | None]:
        updated: tuple[list[FutureRequestState], list[int], list[float] | None] = super().prepare_batch_update()
        answering = [future for future in self.requests_in_batch if future.has_new_token]
        finite = self.output_ids[-1, : len(answering)].tolist()
        for row, future in enumerate(answering):
            entry, kept = entry_of(future.state), entry_of(future.state).logprobs
            if not finite[row]:
                entry.is_lost.set()
            if kept is not None:
                kept.append(self._log_probabilities(row))
        return updated

    def _log_probabilities(self, row: int) -> tuple[float, list[tuple[int, float]]]:
        """Of the row's new token, and of the most probable ones, the most probable first."""
        column = self.output_ids[1:-1, row]
        values = column.contiguous().view(torch.float32).tolist()
        ids = column[1 : 1 + MAX_LOGPROBS].tolist()
        return values[0], list(zip(ids, values[1 + MAX_LOGPROBS :], strict=True))

    def get_model_kwargs(self, use_padding: bool = False) -> PagedAttentionArgs:
        kwargs: dict[str, Any] = super().get_model_kwargs(use_padding)
        if use_padding or self.is_steered:
            kwargs[ROWS] = self._bulk_input_tensor[-1, : self.num_q_tokens]
        return kwargs


class ByRequestIOs(SteeredIOs):
    """Inputs for the attention of `inference.engine.attention`, which needs no packed reads and no mask."""

    def prepare_batch_tensors(self, requests_in_batch: list[FutureRequestState], *args: Any, **kwargs: Any) -> None:
        states = [(future.state, future.state.position_offset, future.query_length) for future in requests_in_batch]
        super().prepare_batch_tensors(requests_in_batch, *args, **(kwargs | {"max_kv_read": 0}))
        [allocator] = self.cache.cache_allocators.values()
        shares = [Share(past, query, allocator.block_table[state.request_id]) for state, past, query in states]
        write_index = self.write_index_storage[0, : self.true_write_sizes[0]]
        setattr(self.cache, attention.KEYS, Plan.of(shares, allocator, write_index))

    def get_model_kwargs(self, use_padding: bool = False) -> PagedAttentionArgs:
        # A mask of four dimensions is handed on as it is; without one the model would make one, for nothing.
        return {**super().get_model_kwargs(use_padding), "attention_mask": NO_MASK}


def _seed_prefixes(processor: ContinuousBatchProcessor, listener: BatchListener) -> None:
    """Make the hashes of a request's KV blocks depend on its steering, when they are looked up and when written."""
    scheduler, cache = processor.scheduler, processor.cache

    def key_of(request_id: str) -> str:
        state = scheduler.active_requests.get(request_id) or scheduler.waiting_requests[request_id]
        return entry_of(state).steering_key

    def search(request_id: str, token_ids: list[int]) -> int:
        found: int = PagedAttentionCache.search_prefix_match(cache, request_id, seeded(token_ids, key_of(request_id)))
        listener.shared(request_id, found)
        return found

    def mark(allocator: CacheAllocator, request_id: str, token_ids: list[int], blocks: int) -> None:
        CacheAllocator.mark_complete_blocks(allocator, request_id, seeded(token_ids, key_of(request_id)), blocks)

    cache.search_prefix_match = search
    for allocator in cache.cache_allocators.values():
        allocator.mark_complete_blocks = partial(mark, allocator)


def _confirm_cancellations(scheduler: Scheduler, listener: BatchListener) -> None:
    """Tell the listener when a cancelled request has left the batch, and let new requests in after it.

    transformers blocks new requests once the cache has overflowed, and admits them when a request *finishes*: when all
    of them are cancelled instead, none would ever be admitted again. A cancellation can also overtake its request,
    since the two wait in queues of their own: it is kept until the request is here.
    """
    clear = scheduler.clear_cancelled_requests

    def cleared() -> list[RequestState]:
        known = scheduler.active_requests.keys() | scheduler.waiting_requests.keys()
        asked = set(scheduler._requests_to_cancel)
        early = {request_id for request_id in asked - known if listener.holds(request_id)}
        states: list[RequestState] = clear()
        for request_id in early:
            scheduler.set_request_cancellation(request_id)
        for request_id in asked - early:
            listener.left(request_id)
        if states or not scheduler.active_requests:
            scheduler.block_new_requests = False
        return states

    scheduler.clear_cancelled_requests = cleared


class StepClock:
    """When the batch last made a step. Its thread writes, any thread reads."""

    def __init__(self) -> None:
        self.began_at: float | None = None
        """When the step began that is in progress, by `time.monotonic`; None between steps."""
        self.ended_at = time.monotonic()

    @contextmanager
    def step(self) -> Iterator[None]:
        self.began_at = time.monotonic()
        try:
            yield
        finally:
            self.ended_at = time.monotonic()
            self.began_at = None


def storable_tokens(manager: ContinuousBatchingManager) -> int:
    """How many tokens a request may have, prompt and answer, for the KV cache to hold it when it is alone."""
    cache = manager.batch_processor.cache

    def fits(tokens: int) -> bool:
        needed = (
            -(-allocator.needs_new_blocks("", 0, tokens) // allocator.blocks_per_sector)
            for allocator in cache.cache_allocators.values()
        )
        return int(sum(needed)) <= int(cache.num_sectors)

    # `bisect` wants an ascending key: False while the tokens fit.
    return bisect_left(range(1, cache.max_tokens_read + 1), True, key=lambda tokens: not fits(tokens))


def _guard_steps(processor: ContinuousBatchProcessor) -> None:
    """No step replays a CUDA graph from before the last hook; one that runs out of memory fails its requests only."""
    step, update = processor._generation_step, processor.update_batch
    failures: list[str] = []

    processor.stale_graphs = threading.Event()
    processor.clock = StepClock()

    def guarded_step(model: PreTrainedModel) -> None:
        # Here, in the engine's thread, where no capture is under way that would be kept after all.
        if processor.stale_graphs.is_set():
            processor.stale_graphs.clear()
            for inputs in _all_inputs(processor.inputs_and_outputs):
                inputs.graphs = CudaGraphBuffer()
        try:
            with processor.clock.step():
                step(model)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not (isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)):
                raise
            logger.error("a step ran out of memory: %s", error)
            failures.append(str(error).splitlines()[0])

    def guarded_update() -> None:
        if not failures:
            update()
            return
        error = MemoryError(f"the engine ran out of memory: {failures.pop()}")
        for future in processor.inputs_and_outputs.requests_in_batch:  # whose outputs are those of an earlier step
            processor.scheduler.finish_request(future.state.request_id)
            processor.output_router.fail_and_deliver(future.state, error)
        processor.scheduler.block_new_requests = False
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    processor._generation_step, processor.update_batch = guarded_step, guarded_update


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

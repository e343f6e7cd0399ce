"""The one module that replaces parts of transformers' continuous batching.

`steered_manager` makes a manager of transformers and replaces its inputs and outputs (`inference.engine.inputs`), its
sampler (`inference.engine.sampling.sampler`), and methods for four purposes:

- The hashes by which requests share the KV blocks of a common prefix are seeded with the steering. So no request reads
  a block that another steering wrote.
- A cancelled request is reported when it has left the batch.
- A step that runs out of memory fails its own requests only.
- A step on a CPU costs less.

The version of transformers is pinned exactly.
"""

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

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
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingAsyncIOs, ContinuousBatchingIOs
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestState
from transformers.generation.continuous_batching.scheduler import Scheduler
from transformers.generation.continuous_batching.utils import CudaGraphBuffer

from inference.engine import cores
from inference.engine.attention import registered
from inference.engine.attention.kept import KeptReads
from inference.engine.attention.plan import can_plan
from inference.engine.batch_entry import entry_of
from inference.engine.inputs import OUTPUT_LINES, PlannedInputs, SteeredInputs, write_outputs
from inference.engine.sampling.sampler import BatchSampler
from inference.engine.sampling.token_tables import TokenTables
from inference.engine.steering.seat import seeded

logger = logging.getLogger(__name__)

KEPT_SHARE = 0.25
"""Of the tokens of the KV cache: those of which a CPU keeps a copy. It is a part of the memory's headroom."""
CAPTURING = threading.Lock()
"""Held while an engine of this process captures a CUDA graph: the capture empties the allocator's cache first."""


class BatchListener(Protocol):
    """The engine as its batch sees it; the batch calls every method in its own thread."""

    def take_outputs(self, outputs: list[GenerationOutput]) -> None:
        """Take all outputs of one step."""

    def note_cached(self, request_id: str, tokens: int) -> None:
        """Note that the cache holds the first `tokens` tokens of the request's prompt."""

    def has_request(self, request_id: str) -> bool:
        """Return True if the request was submitted and has not left the batch."""

    def release(self, request_id: str) -> None:
        """Release what a request held that takes part in no further step."""


def steered_manager(
    model: PreTrainedModel,
    generation_config: GenerationConfig,
    batching: ContinuousBatchingConfig,
    listener: BatchListener,
    tables: TokenTables,
) -> ContinuousBatchingManager:
    """A manager, not yet started, whose requests carry a `BatchEntry` under the keyword `ENTRY_KEYWORD`."""
    manager = model.init_continuous_batching(generation_config, batching)
    sampler = manager.logit_processor = BatchSampler(tables)
    manager.output_router = StepRouter(listener.take_outputs)
    processor = manager.batch_processor = manager._create_batch_processor()
    is_planned = can_plan(processor.cache)
    for inputs in _all_inputs(processor.inputs_and_outputs):
        # transformers creates them deep inside: this adds methods, and drops a mask that nothing reads.
        inputs.__class__ = PlannedInputs if is_planned else SteeredInputs
        inputs.attention_mask = None if is_planned else inputs.attention_mask
        if is_planned:
            inputs.reads = KeptReads(int(KEPT_SHARE * batching.num_blocks * batching.page_size))
        inputs.output_ids = inputs.output_ids.new_zeros(OUTPUT_LINES, inputs.output_ids.size(1))
        if inputs.device.type == "cpu" and model.device.type == "cuda":
            inputs.output_ids = inputs.output_ids.pin_memory()
    processor.model_runner._sample = partial(write_outputs, sampler)
    if is_planned:
        registered.install()
    _seed_prefixes(processor, listener)
    _confirm_cancellations(processor.scheduler, listener)
    _run_without_autograd(processor)
    _guard_steps(processor)
    _capture_alone(processor)
    if processor.model_runner.pad_inputs:
        sampler.can_skip = False
        manager.warmup()
    return manager


def _all_inputs(inputs: ContinuousBatchingIOs | ContinuousBatchingAsyncIOs) -> list[ContinuousBatchingIOs]:
    if isinstance(inputs, ContinuousBatchingIOs):
        return [inputs]
    return [io for pair in inputs.io_pairs for io in (pair.host_io, pair.device_io)]


def forget_graphs(manager: ContinuousBatchingManager) -> None:
    """Drop the CUDA graphs before the next step: a hook was added that none of them has."""
    manager.batch_processor.stale_graphs.set()


class StepRouter(OutputRouter):
    """Hands all outputs of one step to one function, in one call."""

    def __init__(self, deliver: Callable[[list[GenerationOutput]], None]) -> None:
        super().__init__()
        self._deliver = deliver

    def deliver(self, output: GenerationOutput) -> None:
        self._deliver([output])

    def deliver_batch(self, outputs: list[GenerationOutput]) -> None:
        self._deliver(outputs)


def _seed_prefixes(processor: ContinuousBatchProcessor, listener: BatchListener) -> None:
    """Make the hashes of a request's KV blocks depend on its steering, for look-ups and for writes."""
    scheduler, cache = processor.scheduler, processor.cache

    [block] = {allocator.tokens_per_page for allocator in cache.cache_allocators.values()}

    def seeded_of(request_id: str, token_ids: list[int]) -> list[int]:
        state = scheduler.active_requests.get(request_id) or scheduler.waiting_requests[request_id]
        return seeded(token_ids, entry_of(state).seat, block)

    def search(request_id: str, token_ids: list[int]) -> int:
        found: int = PagedAttentionCache.search_prefix_match(cache, request_id, seeded_of(request_id, token_ids))
        listener.note_cached(request_id, found)
        return found

    def mark(allocator: CacheAllocator, request_id: str, token_ids: list[int], blocks: int) -> None:
        CacheAllocator.mark_complete_blocks(allocator, request_id, seeded_of(request_id, token_ids), blocks)

    cache.search_prefix_match = search
    for allocator in cache.cache_allocators.values():
        allocator.mark_complete_blocks = partial(mark, allocator)


def _confirm_cancellations(scheduler: Scheduler, listener: BatchListener) -> None:
    """Have the listener release cancelled requests once they have left the batch, and admit new requests then.

    transformers admits no new request after an overflow of the cache until a request *finishes*: where all of them are
    cancelled instead, it would admit none ever again. A cancellation can overtake its request, since each waits in a
    queue of its own: the cancellation is kept until the request has arrived.
    """
    clear = scheduler.clear_cancelled_requests

    def cleared() -> list[RequestState]:
        known = scheduler.active_requests.keys() | scheduler.waiting_requests.keys()
        asked = set(scheduler._requests_to_cancel)
        early = {request_id for request_id in asked - known if listener.has_request(request_id)}
        states: list[RequestState] = clear()
        for request_id in early:
            scheduler.set_request_cancellation(request_id)
        for request_id in asked - early:
            listener.release(request_id)
        if states or not scheduler.active_requests:
            scheduler.block_new_requests = False
        return states

    scheduler.clear_cancelled_requests = cleared


class StepClock:
    """The times of the batch's steps, by `time.monotonic`. The batch's thread writes them, any thread reads them."""

    def __init__(self) -> None:
        self.began_at: float | None = None
        """The start of the step in progress; None between steps."""
        self.ended_at = time.monotonic()
        """The end of the last step; before the first one, the start of the engine."""
        self.last_began_at = self.ended_at
        """The start of the last step, in progress or not."""

    @contextmanager
    def step(self) -> Iterator[None]:
        self.began_at = self.last_began_at = time.monotonic()
        try:
            yield
        finally:
            self.ended_at = time.monotonic()
            self.began_at = None


def max_request_tokens(manager: ContinuousBatchingManager) -> int:
    """The most tokens of prompt and answer that a request which is alone may have in the KV cache."""
    cache = manager.batch_processor.cache

    def fits(tokens: int) -> bool:
        needed = (
            -(-allocator.needs_new_blocks("", 0, tokens) // allocator.blocks_per_sector)
            for allocator in cache.cache_allocators.values()
        )
        return int(sum(needed)) <= int(cache.num_sectors)

    # `bisect_left` needs an ascending key: it is False while the tokens fit.
    return bisect_left(range(1, cache.max_tokens_read + 1), True, key=lambda tokens: not fits(tokens))


def _capture_alone(processor: ContinuousBatchProcessor) -> None:
    """Capture one CUDA graph at a time: while a worker changes models, two engines may be in memory."""
    capture = processor.model_runner._capture_graph

    def alone(*args: object) -> None:
        with CAPTURING:
            capture(*args)

    processor.model_runner._capture_graph = alone


def _run_without_autograd(processor: ContinuousBatchProcessor) -> None:
    """Run steps on a CPU in torch's inference mode, in which a thousand small operators are dispatched faster.

    Outside of it nothing may write into a tensor that was made in it. So what a step leaves for others, its outputs and
    the states of conditions, lies in tensors that were made before.
    """
    if processor.model_device.type == "cpu":
        processor._generation_step = torch.inference_mode()(processor._generation_step)


def _guard_steps(processor: ContinuousBatchProcessor) -> None:
    """Drop stale CUDA graphs before a step, and fail the requests of a step that runs out of memory, not the engine."""
    step, update = processor._generation_step, processor.update_batch
    failures: list[str] = []

    processor.stale_graphs = threading.Event()
    processor.clock = StepClock()

    def guarded_step(model: PreTrainedModel) -> None:
        cores.use_all()  # the thread of the batch, which transformers starts
        # In the batch's thread: no capture of a graph can be in progress, which transformers would keep.
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
        for future in processor.inputs_and_outputs.requests_in_batch:  # their outputs are an earlier step's
            processor.scheduler.finish_request(future.state.request_id)
            processor.output_router.fail_and_deliver(future.state, error)
        processor.scheduler.block_new_requests = False
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    processor._generation_step, processor.update_batch = guarded_step, guarded_update

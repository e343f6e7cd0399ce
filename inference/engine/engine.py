"""The engine: transformers' continuous batching, with a steering of its own for every request.

All that touches internals of transformers' continuous batching is here, in `paged.py` and in
`sampling.py`; the exact version is pinned. A request's steering vector is a row of the table in
`inference.engine.hooks`; each token of the packed batch carries the row of its request.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.requests import GenerationOutput, RequestStatus

from inference.engine.batch_entry import KEY, BatchEntry
from inference.engine.batching import forget_graphs, steered_manager, storable_tokens
from inference.engine.constraints import Constraint, Grammars
from inference.engine.detokenizer import AnswerText, GrowingText, TokenRecord, TokenTexts
from inference.engine.hooks import NoFreeRow, SteeringHooks
from inference.engine.loading import eos_token_ids, vocabulary
from inference.engine.token_tables import TokenTables
from inference.interface import (
    ContextLengthExceeded,
    EngineBusy,
    EngineClosed,
    EngineStatistics,
    Event,
    GenerationRequest,
    Listener,
    engine_capacity,
    request_tokens,
)
from steering.spec import SteeringSpec

logger = logging.getLogger(__name__)

Directions = Callable[[SteeringSpec], Tensor]
"""The steering vector of a spec, (d_model,) float32."""


@dataclass(frozen=True)
class EngineLimits:
    """Bounds of an engine: requests in a batch, tokens in a step, tokens in the KV cache; seconds without progress."""

    max_requests: int = 32
    max_batch_tokens: int = 512
    cache_tokens: int = 32_768
    step_timeout_s: float = 300.0
    idle_timeout_s: float = 15.0
    """An engine is dead whose step takes longer, or that begins none for so long while requests wait."""


@dataclass
class _Answer:
    """A request in the engine and how much of its answer the listener has seen."""

    request: GenerationRequest
    text: AnswerText
    record: TokenRecord
    slot: int
    constraint: Constraint | None = None
    seen: int = 0
    cached: int = 0
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    is_lost: threading.Event = field(default_factory=threading.Event)
    submitted_at: float = field(default_factory=time.monotonic)
    is_over: bool = False
    """The listener has its last event. The batch may still hold its row and its slot for the step in progress."""


@dataclass
class ContinuousEngine:
    """Serves requests in one continuous batch; `listener` gets the events of each step, in one call.

    `model` stays on its device and in its dtype. The engine takes it over: its attention is switched to
    the paged kind and hooks are registered on its blocks. Call `close` to end its threads.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    listener: Listener
    directions: Directions
    limits: EngineLimits = field(default_factory=EngineLimits)

    def __post_init__(self) -> None:
        config = self.model.config.get_text_config()
        self.context_length = request_tokens(config.max_position_embeddings, self.limits.cache_tokens)
        self._eos = eos_token_ids(self.model, self.tokenizer)
        self.texts = TokenTexts(self.tokenizer.backend_tokenizer)
        # Requests wait inside the engine too; each may have a steering of its own.
        self._capacity = engine_capacity(self.limits.max_requests)
        self._hooks = SteeringHooks(self.model, self._capacity + 1, lambda: forget_graphs(self._manager))
        self._answers: dict[str, _Answer] = {}
        self._lock = threading.Lock()
        self._generated_tokens = 0
        self._closed = False
        self._outputs: queue.SimpleQueue[list[GenerationOutput] | None] = queue.SimpleQueue()
        vocab = vocabulary(self.model)
        self._tables = TokenTables(self._capacity + 1, vocab, self.model.device)
        self._grammars = Grammars(self.tokenizer, vocab, self._eos)
        self._manager = steered_manager(self.model, self._generation_config(), self._batching(), self, self._tables)
        self.context_length = min(self.context_length, storable_tokens(self._manager))
        self._listening = threading.Thread(target=self._listen, name="engine-events", daemon=True)
        self._listening.start()
        self._manager.start()

    # --- what the rest of miLLM calls (see inference.interface.Engine) ---

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its events go to the listener.

        Raises ContextLengthExceeded, InvalidSampling, InvalidSchema, EngineBusy or EngineClosed, and what `directions`
        raises.
        """
        self._check(request)
        constraint = self._grammars.constraint(request.schema) if request.schema is not None else None
        with ExitStack() as undo:
            row = self._acquire_row(request.steering)
            undo.callback(self._release_row, request.steering)
            slot = self._tables.acquire(
                request.sampling, list(request.prompt_ids), is_constrained=constraint is not None
            )
            undo.callback(self._tables.release, slot)
            before = () if request.opens_text else request.prompt_ids
            text = AnswerText(self.texts, request.stop, before)
            record = TokenRecord(self.texts, request.top_logprobs or 0, GrowingText(self.texts, before))
            answer = _Answer(request, text, record, slot, constraint)
            self._add(answer, row)
            undo.pop_all()  # from now on both are released when the batch lets go of the request

    def _add(self, answer: _Answer, row: int) -> None:
        """Hand the request to the batch. Raises EngineClosed."""
        request = answer.request
        entry = BatchEntry(
            sampling=request.sampling,
            prompt_tokens=len(request.prompt_ids),
            steering_row=row,
            steering_key=request.steering.fingerprint if request.steering else "",
            slot=answer.slot,
            constraint=answer.constraint,
            logprobs=answer.logprobs if request.top_logprobs is not None else None,
            is_lost=answer.is_lost,
        )
        with self._lock:  # a cancellation follows its request into the batch
            added = self._manager.add_request(
                list(request.prompt_ids),
                request_id=request.request_id,
                max_new_tokens=request.max_new_tokens,
                streaming=True,
                eos_token_id=self._eos,
                **{KEY: entry},
            )
            if added is None:
                raise EngineClosed("the engine is closed")
            self._answers[request.request_id] = answer

    def cancel(self, request_id: str) -> None:
        """Free the request's place in the batch; its last event is a failure with the code `cancelled`."""
        if self._end_early(request_id):
            self.listener([Event(request_id, "failed", {"code": "cancelled", "message": "The request was cancelled."})])

    def statistics(self) -> EngineStatistics:
        processor = self._manager.batch_processor  # None once the manager has stopped
        running = len(processor.scheduler.active_requests) if processor else 0
        return EngineStatistics(
            running=running,
            waiting=max(0, len(self._answers) - running),
            generated_tokens=self._generated_tokens,
            cache_tokens=self.limits.cache_tokens,
            max_requests=self.limits.max_requests,
            cache_use=1 - processor.cache.compute_free_capacity() if processor else 0.0,
        )

    def is_alive(self) -> bool:
        """Whether the engine can still answer: its threads run, and what is waiting makes progress."""
        return not self._closed and not self.fault()

    def fault(self) -> str:
        """Why the engine answers nothing any more; empty while it works."""
        if not (self._manager.is_running() and self._listening.is_alive()):
            return "a thread of the engine ended"
        processor = self._manager.batch_processor
        oldest = min((answer.submitted_at for answer in [*self._answers.values()]), default=None)
        if processor is None or oldest is None:
            return ""
        now, began_at = time.monotonic(), processor.clock.began_at
        if began_at is not None:
            stuck_s, allowed_s, told = now - began_at, self.limits.step_timeout_s, "a step has been running"
        else:
            stuck_s, allowed_s = now - max(oldest, processor.clock.ended_at), self.limits.idle_timeout_s
            told = f"{len(self._answers)} requests wait and no step has begun"
        return f"{told} for {stuck_s:.0f} s" if stuck_s > allowed_s else ""

    def close(self) -> None:
        """Fail what is still running and end the engine's threads."""
        if not self._closed:
            self._closed = True
            self._manager.stop(block=True, timeout=10, hard_stop=True)
            self._outputs.put(None)
            self._listening.join(timeout=10)

    # --- before the batch ---

    def _generation_config(self) -> GenerationConfig:
        # The sampler perturbs the scores, so that the argmax is the sample: see inference.engine.sampling.
        return GenerationConfig(do_sample=False, eos_token_id=self._eos)

    def _batching(self) -> ContinuousBatchingConfig:
        page_size = 256 if self.model.device.type == "cuda" else 32  # FlashAttention's block table wants 256
        return ContinuousBatchingConfig(
            page_size=page_size,
            num_blocks=-(-self.limits.cache_tokens // page_size),
            max_batch_tokens=max(self.limits.max_batch_tokens, self.limits.max_requests),
            max_requests_per_batch=self.limits.max_requests,
            allow_block_sharing=True,
            # Preparing a step before the last one's tokens are known would leave `constraints` without them.
            use_async_batching=False,
        )

    def _check(self, request: GenerationRequest) -> None:
        if self._closed or not self._manager.is_running():
            raise EngineClosed("the engine is closed")
        if len(self._answers) >= self._capacity:
            raise EngineBusy(f"the engine holds {self._capacity} requests: try again later")
        total = len(request.prompt_ids) + request.max_new_tokens
        if total > self.context_length:
            field = request.prompt_field
            parts = f"({len(request.prompt_ids)} in the {field}, {request.max_new_tokens} in the completion)"
            raise ContextLengthExceeded(self.context_length, f"you requested {total} tokens {parts}", field)

    def _acquire_row(self, spec: SteeringSpec | None) -> int:
        if spec is None:
            return 0
        try:
            return self._hooks.acquire(spec, self.directions)
        except NoFreeRow as error:
            raise EngineBusy(str(error)) from error

    def _release_row(self, spec: SteeringSpec | None) -> None:
        if spec is not None:
            self._hooks.release(spec)

    # --- the end of a request ---

    def _end(self, request_id: str) -> bool:
        """Mark the request as over. True for the one caller that is to tell the listener."""
        with self._lock:
            answer = self._answers.get(request_id)
            if answer is None or answer.is_over:
                return False
            answer.is_over = True
            return True

    def _end_early(self, request_id: str) -> bool:
        """Mark the request as over and have the batch let go of it; see `left`."""
        ended = self._end(request_id)
        if ended:
            self._manager.cancel_request(request_id)
        return ended

    def left(self, request_id: str) -> None:
        """Release the row and the slot of a request that takes part in no further step.

        Not before: a step in progress would read a row that is another steering's by then, and write another's slot.
        """
        with self._lock:
            answer = self._answers.pop(request_id, None)
        if answer is not None:
            self._release_row(answer.request.steering)
            self._tables.release(answer.slot)

    def holds(self, request_id: str) -> bool:
        """Whether the request has not left the batch; called by the batch, as the next two."""
        return request_id in self._answers

    def deliver(self, outputs: list[GenerationOutput]) -> None:
        """Take the outputs of one step."""
        self._outputs.put(outputs)

    def shared(self, request_id: str, tokens: int) -> None:
        """Note how many tokens of the prompt were found in the cache."""
        if answer := self._answers.get(request_id):
            answer.cached = tokens

    # --- after each step, in the listening thread ---

    def _listen(self) -> None:
        while (outputs := self._outputs.get()) is not None:
            events = [event for output in outputs for event in self._safe_events(output)]
            try:
                self.listener(events)
            except Exception:
                # This thread serves all requests: what breaks one step's report must not silence the others.
                logger.exception("the listener failed on %d events", len(events))

    def _safe_events(self, output: GenerationOutput) -> list[Event]:
        """A request on which this fails is failed, and the others go on."""
        try:
            return self._events(output)
        except Exception:
            logger.exception("the events of %s cannot be told", output.request_id)
            return self._fail(output, "engine_error", "The engine failed on this request; the worker's log says why.")
        finally:
            if output.is_finished():
                self.left(output.request_id)

    def _events(self, output: GenerationOutput) -> list[Event]:
        answer = self._answers.get(output.request_id)
        if answer is None or answer.is_over:
            return []  # it was cancelled while its token was on the way
        if output.status == RequestStatus.FAILED:
            code = "out_of_memory" if "out of memory" in str(output.error) else "engine_error"
            return self._fail(output, code, str(output.error))
        if answer.is_lost.is_set():  # NaN or infinite, as float16 becomes beyond 65504: no token is the largest
            under = " under this steering: try smaller strengths" if answer.request.steering else ""
            return self._fail(output, "engine_error", f"the model's logits are not finite{under}")
        if answer.constraint and answer.constraint.error:
            return self._fail(output, "engine_error", f"no token can follow in this schema: {answer.constraint.error}")
        new_ids = output.generated_tokens[answer.seen :]
        started = [] if answer.seen else [self._started(answer)]
        delta = {"token_ids": new_ids, **self._logprobs(answer, new_ids)}
        answer.seen += len(new_ids)
        self._generated_tokens += len(new_ids)
        text = answer.text.push(token_id for token_id in new_ids if token_id not in self._eos)
        finished = self._finish(answer, output) if output.is_finished() or answer.text.stopped else []
        text += answer.text.flush() if finished else ""
        return [*started, Event(output.request_id, "delta", {"text": text, **delta}), *finished]

    def _fail(self, output: GenerationOutput, code: str, message: str) -> list[Event]:
        if not (self._end(output.request_id) if output.is_finished() else self._end_early(output.request_id)):
            return []
        return [Event(output.request_id, "failed", {"code": code, "message": message})]

    def _logprobs(self, answer: _Answer, new_ids: list[int]) -> dict[str, Any]:
        """Of each new token: its log-probability and as many alternatives as the request asks for."""
        if answer.request.top_logprobs is None:
            return {}
        known = answer.logprobs[answer.seen : answer.seen + len(new_ids)]
        return answer.record.told(new_ids, known)

    def _started(self, answer: _Answer) -> Event:
        tokens = {"prompt_tokens": len(answer.request.prompt_ids), "cached_tokens": answer.cached}
        return Event(answer.request.request_id, "started", tokens)

    def _finish(self, answer: _Answer, output: GenerationOutput) -> list[Event]:
        # A stop string ends an answer before the batch does.
        if not (self._end(output.request_id) if output.is_finished() else self._end_early(output.request_id)):
            return []
        ended = answer.text.stopped or output.generated_tokens[-1] in self._eos
        reason = "stop" if ended else "length"
        return [Event(output.request_id, "finished", {"reason": reason, "completion_tokens": answer.seen})]

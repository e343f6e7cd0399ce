"""The engine: transformers' continuous batching, with a steering of its own for every request.

A request has rows in the tables of `inference.engine.steering`; each token of the batch carries one of them. What
touches internals of transformers' continuous batching is in `batching`, `inputs`, `sampling` and `attention`. Three
threads meet here: callers submit and cancel, the batch's thread runs the steps, and the listening thread turns the
outputs of each step into events.
"""

import logging
import queue
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.requests import GenerationOutput

from inference.engine import background
from inference.engine.answer import Answer, end_tokens
from inference.engine.batch_entry import ENTRY_KEYWORD, BatchEntry
from inference.engine.batching import forget_graphs, max_request_tokens, steered_manager
from inference.engine.detokenizer import TokenTexts
from inference.engine.failure import failure_of
from inference.engine.forms.regions import FormRegions
from inference.engine.limits import EngineLimits as EngineLimits
from inference.engine.limits import check_length
from inference.engine.loading import vocabulary
from inference.engine.sampling.constraints import Grammars
from inference.engine.sampling.token_tables import TokenTables
from inference.engine.steering.hooks import SteeringHooks
from inference.engine.steering.weights import SteeringWeights
from inference.interface import (
    EngineBusy,
    EngineClosed,
    EngineStatistics,
    Event,
    GenerationRequest,
    Listener,
    engine_capacity,
    request_tokens,
)

logger = logging.getLogger(__name__)

ROWS_OF_A_REQUEST = 4
"""Rows in the steering tables for each request, since a request may have several: of the prompt, of the answer."""


@dataclass
class ContinuousEngine:
    """Serves requests in one continuous batch; `listener` gets the events of each step in one call.

    `model` stays on its device and in its dtype. The engine takes the model over: it switches the attention to the
    paged kind and registers hooks on the blocks. Call `close` to end the engine's threads.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    listener: Listener
    weights: SteeringWeights
    limits: EngineLimits = field(default_factory=EngineLimits)
    begins: str = ""
    """The text before each message of the assistant in a prompt; empty where it is unknown."""

    def __post_init__(self) -> None:
        vocab = vocabulary(self.model)
        self._eos = end_tokens(self.model.generation_config, self.tokenizer, vocab)
        self.texts = TokenTexts(self.tokenizer.backend_tokenizer)
        self.regions = FormRegions(self.tokenizer, self.texts, self._eos, self.begins)
        # Requests wait inside the engine too; each may have a steering of its own.
        self._capacity = engine_capacity(self.limits.max_requests)
        rows, special = 1 + ROWS_OF_A_REQUEST * self._capacity, self.texts.special
        self._hooks = SteeringHooks(self.model, rows, self.weights, special, lambda: forget_graphs(self._manager))
        self._hooks.install()
        self._hooks.take_rows_from_arguments()
        self._answers: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._generated_tokens = 0
        self._closed = False
        self._outputs: queue.SimpleQueue[list[GenerationOutput] | None] = queue.SimpleQueue()
        self._tables = TokenTables(self._capacity + 1, vocab, self.model.device)
        self._grammars = Grammars(self.tokenizer, vocab, self._eos)
        # Without sampling by transformers: the argmax of the perturbed scores is the sample, see `sampling`.
        generation = GenerationConfig(do_sample=False, eos_token_id=self._eos)
        self._manager = steered_manager(self.model, generation, self._batching(), self, self._tables)
        positions = self.model.config.get_text_config().max_position_embeddings
        storable = min(self.limits.cache_tokens, max_request_tokens(self._manager))
        self.context_length = request_tokens(positions, storable)
        self._listening = threading.Thread(target=self._listen, name="engine-events", daemon=True)
        self._listening.start()
        self._manager.start()

    # --- called from outside: see inference.interface.Engine ---

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its events go to the listener.

        Raises ContextLengthExceeded, InvalidSampling, InvalidSchema, InvalidTools, EngineBusy or EngineClosed, and
        what reading the weights of SAEs raises.
        """
        self._check(request)
        constraint = self._grammars.of_request(request)
        with ExitStack() as undo:
            prompt, regions = request.prompt_ids, self.regions.of(request.answer_form)
            seat = self._hooks.acquire(request.steering, len(prompt), request.request_id, regions, prompt)
            undo.callback(seat.release)
            slot = self._tables.acquire(request.sampling, list(request.prompt_ids), is_constrained=bool(constraint))
            undo.callback(self._tables.release, slot)
            self._add(Answer.begin(request, self.texts, self._eos, slot, constraint, seat))
            undo.pop_all()  # from now on `release` frees the rows and the slot

    def cancel(self, request_id: str) -> None:
        """Free the request's place in the batch; its last event is a failure with the code `cancelled`."""
        if self._end(request_id, in_batch=True):
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

    def free_places(self) -> int:
        """The number of background requests that the batch has room for now; 0 while a user's request waits."""
        return background.free_places(self._manager, self._answers, self.limits.max_requests)

    def users_wait(self) -> bool:
        """Return True while a user's request waits for room: background requests are to be cancelled then."""
        return background.users_wait(self._manager, self._answers)

    def is_alive(self) -> bool:
        """Return True while the engine can answer: its threads run, and the requests make progress."""
        return not self._closed and not self.fault()

    def fault(self) -> str:
        """The reason why the engine answers nothing any more; empty while it works."""
        if not (self._manager.is_running() and self._listening.is_alive()):
            return "a thread of the engine ended"
        processor = self._manager.batch_processor
        oldest = min((answer.submitted_at for answer in [*self._answers.values()]), default=None)
        if processor is None or oldest is None:
            return ""
        now, began_at = time.monotonic(), processor.clock.began_at
        if began_at is not None:
            stuck_s, allowed_s, what = now - began_at, self.limits.step_timeout_s, "a step has been running"
        else:
            stuck_s, allowed_s = now - max(oldest, processor.clock.ended_at), self.limits.idle_timeout_s
            what = f"{len(self._answers)} requests wait and no step has begun"
        return f"{what} for {stuck_s:.0f} s" if stuck_s > allowed_s else ""

    def close(self) -> None:
        """Fail the requests that are still running, and end the engine's threads."""
        if not self._closed:
            self._closed = True
            self._manager.stop(block=True, timeout=10, hard_stop=True)
            self._outputs.put(None)
            self._listening.join(timeout=10)

    # --- before the batch ---

    def _batching(self) -> ContinuousBatchingConfig:
        page_size = 256 if self.model.device.type == "cuda" else 32  # FlashAttention's block table wants 256
        return ContinuousBatchingConfig(
            page_size=page_size,
            num_blocks=-(-self.limits.cache_tokens // page_size),
            max_batch_tokens=max(self.limits.max_batch_tokens, self.limits.max_requests),
            max_requests_per_batch=self.limits.max_requests,
            allow_block_sharing=True,
            # A step prepared before the last one's tokens are known would leave `constraints` without these tokens.
            use_async_batching=False,
        )

    def _check(self, request: GenerationRequest) -> None:
        if self._closed or not self._manager.is_running():
            raise EngineClosed("the engine is closed")
        if len(self._answers) >= self._capacity:
            raise EngineBusy(f"the engine holds {self._capacity} requests: try again later")
        check_length(request, self.context_length)

    def _add(self, answer: Answer) -> None:
        """Hand the request to the batch. Raises EngineClosed."""
        request = answer.request
        entry = BatchEntry(
            sampling=request.sampling,
            prompt_tokens=len(request.prompt_ids),
            seat=answer.seat,
            slot=answer.slot,
            constraint=answer.constraint,
            logprobs=answer.logprobs if request.top_logprobs is not None else None,
            is_lost=answer.is_lost,
        )
        with self._lock:  # so that a cancellation follows its request into the batch
            added = self._manager.add_request(
                list(request.prompt_ids),
                request_id=request.request_id,
                max_new_tokens=request.max_new_tokens,
                streaming=True,
                eos_token_id=self._eos,
                **{ENTRY_KEYWORD: entry},
            )
            if added is None:
                raise EngineClosed("the engine is closed")
            self._answers[request.request_id] = answer

    # --- called by the batch in its thread: see inference.engine.batching.BatchListener ---

    def take_outputs(self, outputs: list[GenerationOutput]) -> None:
        """Pass the outputs of one step to the listening thread."""
        self._outputs.put(outputs)

    def note_cached(self, request_id: str, tokens: int) -> None:
        """Note how many tokens of the request's prompt the cache held."""
        if answer := self._answers.get(request_id):
            answer.cached = tokens

    def has_request(self, request_id: str) -> bool:
        """Return True if the request was submitted and has not left the batch."""
        return request_id in self._answers

    def release(self, request_id: str) -> None:
        """Release the rows and the slot of a request that takes part in no further step.

        Earlier would be too early: a step in progress would read a row that is another steering's by then, and write
        into another request's slot.
        """
        with self._lock:
            answer = self._answers.pop(request_id, None)
        if answer is not None:
            answer.seat.release()
            self._tables.release(answer.slot)

    # --- after each step, in the listening thread ---

    def _listen(self) -> None:
        while (outputs := self._outputs.get()) is not None:
            events = [event for output in outputs for event in self._safe_events(output)]
            try:
                self.listener(events)
            except Exception:
                # This thread serves all requests: an error in one step's report must not silence the others.
                logger.exception("the listener failed on %d events", len(events))

    def _safe_events(self, output: GenerationOutput) -> list[Event]:
        """The events of an output; where an exception is raised, this request fails and the others go on."""
        try:
            return self._events(output)
        except Exception:
            logger.exception("the events of %s cannot be made", output.request_id)
            return self._fail(output, "engine_error", "The engine failed on this request; the worker's log says why.")
        finally:
            if output.is_finished():
                self.release(output.request_id)

    def _events(self, output: GenerationOutput) -> list[Event]:
        answer = self._answers.get(output.request_id)
        if answer is None or answer.is_over:
            return []  # it was cancelled while this output was on its way
        if failure := failure_of(answer, output, is_closed=self._closed):
            return self._fail(output, *failure)
        started = [] if answer.seen else [answer.started()]
        delta = answer.take(output.generated_tokens)
        self._generated_tokens += len(delta["token_ids"])
        finished = []
        # A stop string, or a call that is to be the only one, ends an answer before the batch does.
        if (output.is_finished() or answer.has_stopped) and self._end_with(output):
            answer.flush(delta)
            finished = [answer.finished(output.generated_tokens[-1], self._hooks.first_held(answer.seat))]
        return [*started, Event(output.request_id, "delta", delta), *finished]

    def _fail(self, output: GenerationOutput, code: str, message: str) -> list[Event]:
        ended = self._end_with(output)
        return [Event(output.request_id, "failed", {"code": code, "message": message})] if ended else []

    def _end_with(self, output: GenerationOutput) -> bool:
        return self._end(output.request_id, in_batch=not output.is_finished())

    def _end(self, request_id: str, *, in_batch: bool) -> bool:
        """Mark the request as over. Returns True to the one caller that is to send its last event.

        Where it is still `in_batch`, the batch is asked to let go of it, and calls `release` when it has.
        """
        with self._lock:
            answer = self._answers.get(request_id)
            if answer is None or answer.is_over:
                return False
            answer.is_over = True
        if in_batch:
            self._manager.cancel_request(request_id)
        return True

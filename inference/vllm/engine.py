"""The engine: vLLM's AsyncLLM, whose requests carry their steering.

Callers submit and cancel in their threads. One thread runs an event loop with a task for each request: the task takes
the request's outputs from vLLM and makes events of them. The listener gets the events of one turn of the loop, which
are those of one step of the batch, in one call.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerFast
from vllm import TokensPrompt
from vllm.outputs import RequestOutput
from vllm.v1.engine.async_llm import AsyncLLM

from inference.engine.answer import Answer, end_tokens
from inference.engine.detokenizer import TokenTexts
from inference.engine.limits import EngineLimits, check_length
from inference.engine.sampling.constraints import Grammars
from inference.engine.sampling.token_tables import check_biases
from inference.engine.steering.weights import SteeringWeights
from inference.interface import (
    EngineBusy,
    EngineClosed,
    EngineStatistics,
    Event,
    GenerationRequest,
    Listener,
    engine_capacity,
)
from inference.vllm.arguments import Parallel, engine_arguments, generation_config
from inference.vllm.names import lost_token
from inference.vllm.sampling import logprobs_of, sampling_params
from inference.vllm.start import started
from inference.vllm.statistics import SchedulerReadings
from inference.vllm.steering.payload import Payload
from steering.spec import SteeringSpec

logger = logging.getLogger(__name__)

START_S = 1800.0
"""A large model is loaded and compiled in this time."""
END_S = 10.0


class VllmEngine:
    """Serves requests of the model in the folder `path` by vLLM; `listener` gets their events.

    Call `close` to end its thread and vLLM's processes. See `inference.interface.Engine`.
    """

    def __init__(
        self,
        path: Path,
        tokenizer: PreTrainedTokenizerFast,
        listener: Listener,
        weights: SteeringWeights,
        limits: EngineLimits = EngineLimits(),  # noqa: B008
        dtype: str = "float32",
        parallel: Parallel = Parallel(),  # noqa: B008
        *,
        compiled: bool = True,
    ) -> None:
        """Load the model. Raises what vLLM raises, SteeringLost in words among it."""
        self._listener, self.tokenizer, self.weights, self.limits = listener, tokenizer, weights, limits
        self.texts = TokenTexts(tokenizer.backend_tokenizer)
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True).get_text_config()
        arguments = engine_arguments(
            path, dtype, limits, config, self.texts.special, parallel=parallel, compiled=compiled
        )
        self._vocab = int(config.vocab_size)
        self._eos = end_tokens(generation_config(path), tokenizer, self._vocab)
        self._grammars = Grammars(tokenizer, self._vocab, self._eos)
        self._layers = int(config.num_hidden_layers)
        self._capacity = engine_capacity(limits.max_requests)
        self.context_length: int = arguments["max_model_len"]
        self._answers: dict[str, Answer] = {}
        self._tasks: dict[str, Future[None]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._generated_tokens = 0
        self._heard_at = time.monotonic()
        self._events: list[Event] = []
        self._losses: Counter[str] = Counter()
        """The lost requests of each steering, by its fingerprint."""
        self._readings = SchedulerReadings()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        try:
            self._llm = self._wait(started(arguments, self._readings), START_S)
        except BaseException:
            self._end_loop()
            raise

    # --- called from outside: see inference.interface.Engine ---

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its events go to the listener.

        Raises ContextLengthExceeded, InvalidSampling, InvalidSchema, InvalidTools, EngineBusy, EngineClosed or
        EngineUnsupported, and what reading the weights of SAEs raises.
        """
        self._check(request)
        check_biases(request.sampling, self._vocab)
        self._grammars.of_request(request)  # so that it is refused by the same words as elsewhere
        prompt_tokens, spec = len(request.prompt_ids), request.steering
        payload = self._payload(spec, prompt_tokens) if spec else None
        prompt = TokensPrompt(prompt_token_ids=list(request.prompt_ids))
        if payload:
            prompt["cache_salt"] = payload.salt
        params = sampling_params(request, self._eos, payload)
        answer = Answer.begin(request, self.texts, self._eos)
        with self._lock:
            if self._closed:
                raise EngineClosed("the engine is closed")
            self._answers[request.request_id] = answer
            serving = self._serve(answer, self._llm.generate(prompt, params, request.request_id))
            self._tasks[request.request_id] = asyncio.run_coroutine_threadsafe(serving, self._loop)

    def cancel(self, request_id: str) -> None:
        """End a request; its last event is a failure with the code `cancelled`. An unknown request is no error."""
        self._end(request_id, "cancelled", "The request was cancelled.")

    def statistics(self) -> EngineStatistics:
        running = self._readings.running
        return EngineStatistics(
            running=running,
            waiting=max(0, len(self._answers) - running),
            generated_tokens=self._generated_tokens,
            cache_tokens=self.limits.cache_tokens,
            max_requests=self.limits.max_requests,
            cache_use=self._readings.cache_use,
        )

    def is_alive(self) -> bool:
        """Return True while the engine can answer."""
        return not self._closed and not self.fault()

    def fault(self) -> str:
        """The reason why the engine answers nothing any more; empty while it works."""
        if not self._thread.is_alive():
            return "the thread of the engine ended"
        if self._llm.errored:
            return f"vLLM's engine died: {self._llm.dead_error}"
        oldest = min((answer.submitted_at for answer in [*self._answers.values()]), default=None)
        silent_s = time.monotonic() - max(oldest, self._heard_at) if oldest is not None else 0.0
        if silent_s > self.limits.step_timeout_s:
            return f"vLLM has made no token of {len(self._answers)} requests for {silent_s:.0f} s"
        return ""

    def close(self) -> None:
        """Fail the requests that are still running, and end vLLM's processes and the engine's thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            for request_id in [*self._answers]:
                self._end(request_id, *_ENDS["abort"])
        finally:
            self._llm.shutdown()
            self._end_loop()

    # --- the thread with the loop ---

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, AsyncLLM], timeout_s: float) -> AsyncLLM:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=timeout_s)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=END_S)

    # --- a request, in the loop ---

    async def _serve(self, answer: Answer, outputs: Any) -> None:
        request_id = answer.request.request_id
        try:
            async with aclosing(outputs):  # which makes vLLM abort a request that has not ended
                async for output in outputs:
                    self._heard_at = time.monotonic()
                    if answer.is_over or self._take(answer, output):
                        break
        except asyncio.CancelledError:
            pass  # `_end` has told the listener
        except Exception as error:
            if not answer.is_over:
                logger.exception("vLLM failed on %s", request_id)
            self._tell_end(answer, [_failed(request_id, "engine_error", f"vLLM failed on this request: {error}")])
        finally:
            with self._lock:
                self._answers.pop(request_id, None)
                self._tasks.pop(request_id, None)

    def _take(self, answer: Answer, output: RequestOutput) -> bool:
        """Make events of an output; True where the answer has ended with it."""
        [choice] = output.outputs
        request_id = answer.request.request_id
        if lost_token(self._vocab) in choice.token_ids:
            if spec := answer.request.steering:
                self._losses[spec.fingerprint] += 1
            return self._tell_end(answer, [_failed(request_id, *answer.lost)])
        if output.finished and choice.finish_reason not in ("stop", "length"):
            return self._tell_end(answer, [_failed(request_id, *_ENDS.get(str(choice.finish_reason), _FAILED))])
        events = []
        if not answer.generated:
            answer.cached = output.num_cached_tokens or 0
            events.append(answer.started())
        answer.logprobs += logprobs_of(choice, answer.request.top_logprobs or 0)
        answer.generated += choice.token_ids
        delta = answer.take(answer.generated)
        self._generated_tokens += len(choice.token_ids)
        ends = output.finished or answer.has_stopped
        if ends:
            answer.flush(delta)
        events.append(Event(request_id, "delta", delta))
        if ends:
            return self._tell_end(answer, [*events, answer.finished(answer.generated[-1])])
        self._tell(events)
        return False

    # --- events ---

    def _tell(self, events: list[Event]) -> None:
        """Hand events to the listener at the end of this turn of the loop, with those of other requests."""
        if not self._events:
            self._loop.call_soon(self._flush)
        self._events += events

    def _flush(self) -> None:
        events, self._events = self._events, []
        try:
            self._listener(events)
        except Exception:
            # This thread serves all requests: an error in one report must not silence the others.
            logger.exception("the listener failed on %d events", len(events))

    def _tell_end(self, answer: Answer, events: list[Event]) -> bool:
        """Tell the last events of an answer, unless somebody else has ended it. Returns True."""
        if self._may_end(answer):
            self._tell(events)
        return True

    def _end(self, request_id: str, code: str, message: str) -> None:
        """End a request from outside of the loop."""
        answer = self._answers.get(request_id)
        if answer is not None and self._may_end(answer):
            if (task := self._tasks.get(request_id)) is not None:  # of which `submit` knew before the answer was over
                task.cancel()
            self._listener([_failed(request_id, code, message)])

    def _may_end(self, answer: Answer) -> bool:
        """Mark the answer as over. Returns True to the one caller that is to send its last event."""
        with self._lock:
            was_over, answer.is_over = answer.is_over, True
        return not was_over

    def _payload(self, spec: SteeringSpec, prompt_tokens: int) -> Payload:
        losses = self._losses[spec.fingerprint]
        payload = Payload.of(spec, prompt_tokens, self.texts.special, self.weights, losses)
        if (beyond := max((layer for layer, _ in payload.places), default=0)) >= self._layers:
            raise IndexError(f"block {beyond} is not there: the model has {self._layers}")
        return payload

    def _check(self, request: GenerationRequest) -> None:
        if self._closed:
            raise EngineClosed("the engine is closed")
        if len(self._answers) >= self._capacity:
            raise EngineBusy(f"the engine holds {self._capacity} requests: try again later")
        check_length(request, self.context_length)


_ENDS = {"abort": (EngineClosed.code, "The worker was stopped before the answer was complete: try again.")}
_FAILED = "engine_error", "vLLM failed on this request; the worker's log says why."


def _failed(request_id: str, code: str, message: str) -> Event:
    return Event(request_id, "failed", {"code": code, "message": message})

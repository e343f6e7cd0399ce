"""A loaded model with its engine: what answers the tasks of a worker."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import redis
from django.conf import settings
from django.db import close_old_connections
from redis.client import PubSubWorkerThread
from torch import Tensor

from inference.broker import stream
from inference.engine.detokenizer import GrowingText, TokenRecord
from inference.engine.directions import steering_vector
from inference.engine.engine import ContinuousEngine, EngineLimits
from inference.engine.forward import Encoder
from inference.engine.loading import embedded_tokens, load
from inference.interface import (
    ContextLengthExceeded,
    EngineBusy,
    EngineClosed,
    Event,
    EventsLost,
    GenerationError,
    GenerationRequest,
    SamplingParams,
    TimedOut,
    WorkerLost,
)
from inference.models import LanguageModel
from inference.worker.consumer import acknowledge
from inference.worker.prompts import added_before, echo_text, field_of, prompt_ids
from inference.worker.running import CHOICE, Running, choice_id, failure_of
from inference.worker.side_queue import SideQueue
from steering.models import SAE
from steering.preparation import config_of
from steering.spec import SteeringSpec

logger = logging.getLogger(__name__)

ORPHAN_S = 5.0
ECHO_ENTRIES = 2**18
"""Some 25 MB in Redis, and 100 MB in the web."""
EMBEDDED_TEXTS = 64
"""Texts of one request that are tokenised at a time."""


class SAEGone(GenerationError):
    """The SAE that a request's steering names is no longer what it was."""

    code = "sae_unavailable"


class EchoTooLarge(GenerationError):
    """More log-probabilities of prompts than one request may ask for."""

    param = "logprobs"

    def __init__(self) -> None:
        told = f"expected at most {ECHO_ENTRIES:,} tokens and alternatives in the echo of all prompts of a request"
        super().__init__(f"{told}: send fewer prompts at once, or ask for fewer logprobs")


class Serving:
    """A loaded model with its engine; answers the tasks of the worker with the id `worker`."""

    def __init__(self, worker: str, model: LanguageModel) -> None:
        self.worker = worker
        self.model = model
        loaded, self.tokenizer = load(model)
        self.device = str(loaded.device)
        self._rows = embedded_tokens(loaded)
        self._running: dict[str, Running] = {}
        self._heard: dict[str, float] = {}  # of each inbox, when its web process was alive last
        self.encoder = Encoder(loaded)
        self._embedding = SideQueue("embeddings", settings.INFERENCE_MAX_EMBEDDING_REQUESTS)
        self._scoring = threading.BoundedSemaphore(max(1, settings.INFERENCE_BATCH_SIZE // 4))
        self.engine = ContinuousEngine(loaded, self.tokenizer, self._listen, steering_direction, limits_from_settings())
        self._cancellations: PubSubWorkerThread | None = None

    def listen_for_cancellations(self) -> None:
        """From now on. Raises RedisError; may be called again."""
        if self._cancellations is None:
            self._cancellations = stream.listen_for_cancellations(self._cancel)

    def close(self) -> None:
        """Let what is running finish, within INFERENCE_DRAIN_S, then end. The worker takes no more tasks by now."""
        deadline = time.monotonic() + settings.INFERENCE_DRAIN_S
        while self._running and self.engine.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._cancellations is not None:
            self._cancellations.stop()
        self.engine.close()
        self._embedding.close()
        for running in [*self._running.values()]:  # those of an engine that died, and tells nothing
            running.end(EngineClosed("the engine was stopped"))

    def drop_cancelled(self) -> None:
        """Cancel what was cancelled while the subscription was being made anew, and missed it."""
        for request_id in stream.cancelled_among([*self._running]):
            self._cancel(request_id)

    def drop_orphans(self) -> None:
        """End the requests of web processes that are gone: nobody reads their answers. One that was held up is told."""
        now, inboxes = time.monotonic(), {running.inbox for running in [*self._running.values()]}
        alive = stream.alive_inboxes(inboxes)
        self._heard = {inbox: now if inbox in alive else self._heard.get(inbox, now) for inbox in inboxes}
        for request_id, running in [*self._running.items()]:
            if now - self._heard.get(running.inbox, now) > ORPHAN_S:
                logger.warning("%s: its web process is gone", request_id)
                running.end(EventsLost())

    # --- a task ---

    def answer(self, message: Mapping[str, Any]) -> None:
        """Answer one request; every way out writes a last event, but for a cancellation, after which nobody reads.

        `message`: request_id, inbox (see `inference.broker.inbox`), prompts (see `inference.worker.prompts`), echo,
        max_tokens or None, sampling, stop, top_logprobs or None, schema (JSON text) or None, template (options of the
        chat template), choices (the `n` of OpenAI, for each prompt), steering (see `SteeringSpec.to_message`) or None,
        deadline (Unix time of Redis, s).
        """
        request_id = message["request_id"]
        running = self._take(message, len(message["prompts"]) * message["choices"])
        if running is None:
            return
        with self._told(message, running):
            requests = self._requests(message, running)
            if message["max_tokens"] == 0:
                self._only_echo(requests)
            else:
                for request in requests:
                    self.engine.submit(request)
            if stream.is_cancelled(request_id):  # between the first look and the submission
                self._cancel(request_id)
            if not running.ended.wait(timeout=running.left_s):
                raise TimedOut
            if running.error:
                raise running.error

    def embed(self, message: Mapping[str, Any]) -> None:
        """Have the texts of one request embedded, one request after another: this returns before it is answered.

        `message`: request_id, inbox, prompts, deadline, as in `answer`.
        """
        running = self._take(message, choices=1)
        if running is None:
            return

        def job() -> None:
            with self._told(message, running):
                self._embed(message, running)

        try:
            self._embedding.submit(job)
        except EngineBusy as error:
            with self._told(message, running):
                raise error

    def _embed(self, message: Mapping[str, Any], running: Running) -> None:
        """Write the embeddings in as many events as `inference.engine.forward` has batches, then the last event."""
        request_id, inbox, prompts = message["request_id"], message["inbox"], message["prompts"]
        # Texts of like length share a batch; only those of one chunk are in memory as tokens.
        order = sorted(
            range(len(prompts)), key=lambda index: len(prompts[index].get("text") or prompts[index].get("ids", ()))
        )
        tokens = 0
        for start in range(0, len(order), EMBEDDED_TEXTS):
            chunk = order[start : start + EMBEDDED_TEXTS]
            texts = [prompt_ids(self.tokenizer, prompts[index], self._rows, param="input") for index in chunk]
            tokens += sum(map(len, texts))
            for embeddings in self.encoder.embeddings(texts):
                if running.error:
                    raise running.error
                if running.ended.is_set():
                    return
                if running.left_s < 0:
                    raise TimedOut
                found = [(chunk[index], embedding) for index, embedding in embeddings]
                stream.write_events([(inbox, Event(request_id, "embedded", {"embeddings": found}))])
        stream.write_events([(inbox, Event(request_id, "finished", {"prompt_tokens": tokens}))])
        running.left = 0

    def _take(self, message: Mapping[str, Any], choices: int) -> Running | None:
        """Make the request this worker's; None where nobody waits for it any more, or another worker has it."""
        request_id, inbox = message["request_id"], message["inbox"]
        ends_at = 0.0
        try:
            ends_at = time.monotonic() + stream.seconds_until(message["deadline"])
            claimed = self._claim(message, ends_at)
        except redis.RedisError:
            stream.tell_failure(inbox, request_id, EventsLost.code, str(EventsLost()))
            claimed = False
        if not claimed:
            return None
        running = self._running[request_id] = Running(inbox, choices, ends_at)
        return running

    @contextmanager
    def _told(self, message: Mapping[str, Any], running: Running) -> Iterator[None]:
        """End the request with the block; what the block raises is the request's last event."""
        request_id, inbox = message["request_id"], message["inbox"]
        began, failure = time.perf_counter(), None
        try:
            yield
        except Exception as error:
            failure = failure_of(request_id, error)
        finally:
            told = failure[0] if failure else running.outcome()
            self._cancel(request_id)  # what is left of it: after its deadline, or the choices beside a failed one
            self._running.pop(request_id, None)
            logger.info("%s: %s in %.2f s", request_id, told, time.perf_counter() - began)
        if failure:
            stream.tell_failure(inbox, request_id, *failure)  # last, since it waits for a broker that is away

    def _claim(self, message: Mapping[str, Any], ends_at: float) -> bool:
        """Whether this worker is to answer it: somebody still waits for it, and nobody else has taken it."""
        request_id = message["request_id"]
        if stream.is_cancelled(request_id):
            dropped = "cancelled before it began"
        elif time.monotonic() > ends_at:
            dropped = "too late"
            stream.tell_failure(message["inbox"], request_id, TimedOut.code, str(TimedOut()))
        elif not stream.take(request_id, self.worker):
            dropped = "another worker's"
            if not stream.taker_is_alive(request_id):  # it died before it could say that it had it
                stream.tell_failure(message["inbox"], request_id, WorkerLost.code, str(WorkerLost()))
        else:
            dropped = ""
        if dropped:
            logger.info("%s: dropped, %s", request_id, dropped)
            return False
        stream.write_events([(message["inbox"], Event(request_id, "claimed", {"worker": self.worker}))])
        acknowledge()
        return True

    def _requests(self, message: Mapping[str, Any], running: Running) -> list[GenerationRequest]:
        """One for each choice of each prompt; the second choice has the seed after the first one's, and so on."""
        steering, sampling = message["steering"], SamplingParams.from_message(message["sampling"])
        spec = SteeringSpec.from_message(steering) if steering else None
        requests: list[GenerationRequest] = []
        entries = 0
        for prompt in message["prompts"]:
            ids, field = prompt_ids(self.tokenizer, prompt, self._rows, message["template"]), field_of(prompt)
            max_new_tokens = self._max_new_tokens(message["max_tokens"], len(ids), field)
            if message["echo"]:
                self._check_echo(ids)
                if message["top_logprobs"] is not None:
                    entries += len(ids) * (1 + message["top_logprobs"]) * message["choices"]
                if entries > ECHO_ENTRIES:
                    raise EchoTooLarge
                running.echoes.append(self._echo(prompt, ids, spec, message["top_logprobs"]))
            for choice in range(message["choices"]):
                request = GenerationRequest(
                    request_id=choice_id(message["request_id"], len(requests)),
                    prompt_ids=ids,
                    max_new_tokens=max_new_tokens,
                    sampling=replace(sampling, seed=sampling.seed + choice),
                    steering=spec,
                    stop=tuple(message["stop"]),
                    top_logprobs=message["top_logprobs"],
                    schema=message["schema"],
                    prompt_field=field,
                    opens_text="messages" in prompt and not message["template"].get("continue_final_message"),
                )
                requests.append(request)
        return requests

    def _check_echo(self, ids: list[int]) -> None:
        """Raise ContextLengthExceeded: the engine, which checks the others, sees no prompt that is only echoed."""
        if len(ids) > self.engine.context_length:
            told = f"your prompt resulted in {len(ids)} tokens"
            raise ContextLengthExceeded(self.engine.context_length, told, "prompt")

    def _echo(
        self, prompt: Mapping[str, Any], ids: list[int], spec: SteeringSpec | None, top: int | None
    ) -> dict[str, Any]:
        """The prompt as the beginning of its answer, with log-probabilities where `top` alternatives are asked for."""
        texts, added = self.engine.texts, added_before(self.tokenizer, ids)
        echo: dict[str, Any] = {"echo": echo_text(texts, prompt, ids[added:])}
        if top is not None:
            with self._scoring_place():
                known = self.encoder.prompt_logprobs(ids, (spec, steering_direction(spec)) if spec else None, top)
            every = [(None, None), *known]  # nothing is before the first token
            own = TokenRecord(texts, top, GrowingText(texts)).told(ids[:added], every[:added])
            given = TokenRecord(texts, top, GrowingText(texts, names=True)).told(ids[added:], every[added:])
            echo |= {name: [*own[name], *given[name]] for name in own}
        return echo

    @contextmanager
    def _scoring_place(self) -> Iterator[None]:
        """A place among the few threads of chats that may wait for log-probabilities of prompts. Raises EngineBusy."""
        if not self._scoring.acquire(blocking=False):
            raise EngineBusy("enough requests wait for the log-probabilities of their prompts: try again later")
        try:
            yield
        finally:
            self._scoring.release()

    def _only_echo(self, requests: list[GenerationRequest]) -> None:
        for request in requests:
            started = {"prompt_tokens": len(request.prompt_ids), "cached_tokens": 0}
            finished = {"reason": "length", "completion_tokens": 0}
            events = [Event(request.request_id, "started", started), Event(request.request_id, "finished", finished)]
            self._listen(events)

    def _max_new_tokens(self, asked: int | None, prompt_tokens: int, field: str) -> int:
        """As asked; else what the context leaves, within INFERENCE_MAX_NEW_TOKENS."""
        if asked is not None:
            return asked
        left = self.engine.context_length - prompt_tokens
        if left <= 0:
            told = f"your {field} resulted in {prompt_tokens} tokens"
            raise ContextLengthExceeded(self.engine.context_length, told, field)
        return min(left, settings.INFERENCE_MAX_NEW_TOKENS)

    def _cancel(self, request_id: str) -> None:
        if running := self._running.get(request_id):
            running.ended.set()
            for index in range(running.choices):
                self.engine.cancel(choice_id(request_id, index))

    def _listen(self, events: list[Event]) -> None:
        """The engine's events, which are of choices, as the request's."""
        told = []
        for event in events:
            request_id, _, index = event.request_id.rpartition(CHOICE)
            running = self._running.get(request_id)
            if running is None or running.ended.is_set():
                continue  # nobody waits for it any more
            data = {**event.data, "index": int(index)}
            if event.kind == "started":
                data |= running.take_echo(int(index))
            told.append((running.inbox, Event(request_id, event.kind, data)))
            if event.kind == "failed":
                running.left, running.failed = 0, event.data["code"]
            elif event.is_last:
                running.left -= 1
        try:
            stream.write_events(told)
        except redis.RedisError as error:  # an answer with a gap would be another answer: these fail
            logger.error("%d events are lost: %s", len(told), error)
            for _inbox, event in told:
                if running := self._running.get(event.request_id):
                    running.end(EventsLost())
        for _inbox, event in told:
            running = self._running.get(event.request_id)
            if running and running.left <= 0:
                running.ended.set()


def limits_from_settings() -> EngineLimits:
    return EngineLimits(
        max_requests=settings.INFERENCE_BATCH_SIZE,
        max_batch_tokens=settings.INFERENCE_BATCH_TOKENS,
        cache_tokens=settings.INFERENCE_CACHE_TOKENS,
        step_timeout_s=settings.INFERENCE_STEP_TIMEOUT_S,
    )


def steering_direction(spec: SteeringSpec) -> Tensor:
    """The vector of a spec, from the files of its SAE. Raises SAEGone, or the Refused of what cannot be read."""
    try:
        sae = SAE.objects.filter(pk=spec.sae_id).first()
    finally:
        close_old_connections()  # back to the pool: the request goes on for long, and needs none
    # A fingerprint that is computed while the request is on its way is no other SAE.
    if sae is None or (sae.fingerprint and spec.sae_fingerprint and sae.fingerprint != spec.sae_fingerprint):
        found = "it was deleted" if sae is None else f"its fingerprint is {sae.fingerprint}"
        raise SAEGone(f"SAE {spec.sae_id} with fingerprint {spec.sae_fingerprint} is not here any more: {found}")
    return steering_vector(config_of(sae), spec.strengths)

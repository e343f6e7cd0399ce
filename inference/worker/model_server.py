"""A loaded model with its engine, which answers the tasks of a worker."""

import time
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from django.conf import settings
from redis.client import PubSubWorkerThread
from transformers import PreTrainedModel

from inference.broker import claims
from inference.broker.events import write_events
from inference.broker.messages import EmbedMessage, GenerateMessage, Message
from inference.engine.cores import with_all
from inference.engine.limits import EngineLimits
from inference.interface import Engine, EngineClosed, EngineUnsupported, Event, GenerationRequest, TimedOut
from inference.models import LanguageModel
from inference.worker.job_table import JobTable
from inference.worker.reading.answers import AnswersToRead
from inference.worker.requests.builder import RequestBuilder

M = TypeVar("M", bound=Message)


class ModelServer:
    """A loaded model with its engine; answers the tasks of the worker with the id `worker`.

    A subclass makes the engine and the builder of its requests, and does what more its engine can.
    """

    KIND: ClassVar[str]
    """The engine, by its name in INFERENCE_ENGINE."""
    LACKS: ClassVar[tuple[str, ...]] = ()
    """What the engine does not do, of the names in `inference.capabilities`."""
    engine: Engine
    device: str
    _builder: RequestBuilder

    def __init__(self, worker: str, model: LanguageModel) -> None:
        self.model = model
        self.jobs = JobTable(worker, lambda choice: self.engine.cancel(choice))
        self._cancellations: PubSubWorkerThread | None = None

    @property
    def loaded(self) -> PreTrainedModel | None:
        """The model, where it is in this process."""
        return None

    def listen_for_cancellations(self) -> None:
        """Cancel requests from now on as Redis says. Raises RedisError; may be called again."""
        if self._cancellations is None:
            self._cancellations = claims.listen_for_cancellations(self.jobs.cancel)

    def close(self) -> None:
        """Let the jobs finish, within INFERENCE_DRAIN_S, then end. The worker takes no more tasks by now."""
        self._end_background()
        deadline = time.monotonic() + settings.INFERENCE_DRAIN_S
        while self.jobs and self.engine.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._cancellations is not None:
            self._cancellations.stop()
        self.engine.close()
        self._end_queues()
        self.jobs.end_all(EngineClosed("the engine was stopped"))  # an engine that died reports nothing

    def _end_background(self) -> None:
        """End the work for which no user waits: another worker goes on with it."""

    def _end_queues(self) -> None:
        """End the work beside the batch."""

    def answer(self, message: GenerateMessage) -> None:
        """Answer a request and return after its last event; a cancelled request gets none, since nobody reads it."""
        job = self.jobs.claim(message, len(message.prompts) * message.choices)
        if job is None:
            return
        with self.jobs.ending(job):
            requests = self._builder.requests(message, job)
            to_read = self._to_read(message, requests) if message.reading else None
            if to_read:
                job.holds = to_read.holds
            if message.max_tokens == 0:
                self.jobs.report(_only_echoes(requests))
            else:
                for request in requests:
                    self.engine.submit(request)
            if claims.is_cancelled(job.request_id):  # between the claim and the submission
                self.jobs.cancel(job.request_id)
            if not job.ended.wait(timeout=job.left_s):
                raise TimedOut
            if job.error:
                raise job.error
            if to_read and not job.failed:
                write_events([(job.inbox, event) for event in with_all(to_read.finished)])

    def _to_read(self, message: GenerateMessage, requests: Sequence[GenerationRequest]) -> AnswersToRead:
        """The reading of the features in the answers. Raises EngineUnsupported where there is none."""
        raise EngineUnsupported("the features of answers", "return_sae_activations")

    def embed(self, message: EmbedMessage) -> None:
        """Answer a request for embeddings, or queue it; where the engine makes none, it fails."""
        self._refuse(message, "embeddings")

    def read(self, message: Message) -> None:
        """Answer a request for a reading, or queue it; where the engine makes none, it fails."""
        self._refuse(message, "readings of features")

    def _refuse(self, message: Message, what: str) -> None:
        job = self.jobs.claim(message, choices=1)
        if job is not None:
            with self.jobs.ending(job):
                raise EngineUnsupported(what)


def _only_echoes(requests: list[GenerationRequest]) -> list[Event]:
    """The events of requests for no new tokens: the engine has nothing to do for them."""
    events = []
    for request in requests:
        started = {"prompt_tokens": len(request.prompt_ids), "cached_tokens": 0}
        finished = {"reason": "length", "completion_tokens": 0}
        events += [Event(request.request_id, "started", started), Event(request.request_id, "finished", finished)]
    return events


def limits_from_settings() -> EngineLimits:
    return EngineLimits(
        max_requests=settings.INFERENCE_BATCH_SIZE,
        max_batch_tokens=settings.INFERENCE_BATCH_TOKENS,
        cache_tokens=settings.INFERENCE_CACHE_TOKENS,
        step_timeout_s=settings.INFERENCE_STEP_TIMEOUT_S,
    )

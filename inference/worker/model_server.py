"""A loaded model with its engine, which answers the tasks of a worker."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from redis.client import PubSubWorkerThread

from inference.broker import claims
from inference.broker.events import write_events
from inference.broker.messages import EmbedMessage, GenerateMessage, Message
from inference.engine.continuations import Continuations
from inference.engine.cores import with_all
from inference.engine.engine import ContinuousEngine, EngineLimits
from inference.engine.loading import embedded_tokens, load, vocabulary
from inference.engine.prompt_reader import PromptReader
from inference.engine.reading.sinks import plain_text_has_sink
from inference.engine.steering.passes import PassSteering
from inference.engine.steering.weights import SteeringWeights
from inference.interface import EngineBusy, EngineClosed, Event, GenerationRequest, TimedOut
from inference.models import LanguageModel
from inference.sweeps.models import Place
from inference.worker.embedder import Embedder
from inference.worker.job import Job
from inference.worker.job_table import JobTable
from inference.worker.measuring.measurings import Measurings
from inference.worker.measuring.run import MeasuringModel
from inference.worker.reading.answers import AnswersToRead
from inference.worker.reading.encoder_cache import EncoderCache
from inference.worker.reading.readings import Readings
from inference.worker.reading.texts import ReadTexts
from inference.worker.requests.builder import RequestBuilder
from inference.worker.requests.prompts import answer_beginning
from inference.worker.saes.preparation import config_at
from inference.worker.side_queue import SideQueue
from inference.worker.sweeping.answers import BackgroundAnswers
from inference.worker.sweeping.run import SweepModel
from inference.worker.sweeping.sweeps import Sweeps

M = TypeVar("M", bound=Message)


class ModelServer:
    """A loaded model with its engine; answers the tasks of the worker with the id `worker`."""

    def __init__(self, worker: str, model: LanguageModel) -> None:
        self.model = model
        loaded, tokenizer = load(model.path, model.dtype, model.device)
        rows = embedded_tokens(loaded)
        self.device = str(loaded.device)
        self.jobs = JobTable(worker, lambda choice: self.engine.cancel(choice))
        reader = PromptReader(loaded)  # before the engine, which takes the model over
        encoders = EncoderCache(reader.model.device)
        weights = SteeringWeights(config_at, encoders.get)
        self._background: BackgroundAnswers[Place] = BackgroundAnswers(lambda: self.engine)
        limits, begins = limits_from_settings(), answer_beginning(tokenizer)
        self.engine = ContinuousEngine(loaded, tokenizer, self._report, weights, limits, begins)
        self._builder = RequestBuilder(tokenizer, rows, self.engine, reader)
        self._embedder = Embedder(tokenizer, rows, reader)
        self._embeddings = SideQueue("embeddings", settings.INFERENCE_MAX_EMBEDDING_REQUESTS)
        is_sink = plain_text_has_sink(reader.model, tokenizer, rows, reader.context_length)
        texts = ReadTexts(tokenizer, self.engine.texts, rows, reader.context_length, first_is_sink=is_sink)
        tokens = min(vocabulary(loaded), len(tokenizer))
        regions = self.engine.regions
        self.readings = Readings(texts, reader, encoders, weights, tokens, regions)
        self._readings = SideQueue("readings", settings.INFERENCE_MAX_READING_REQUESTS)
        measured = MeasuringModel(texts, reader.model, tokens, reader.context_length, self.readings.reader)
        self._measurings = Measurings(model.name, measured)
        sweeping = SweepModel(
            model.version,
            self._builder,
            self._background,
            Continuations(reader),
            lambda spec, form: PassSteering(spec, weights, texts.special, regions.of(form)),
            lambda word: list(tokenizer(word, add_special_tokens=False)["input_ids"]),
        )
        self._sweeps = Sweeps(model.name, sweeping)
        self._cancellations: PubSubWorkerThread | None = None

    def listen_for_cancellations(self) -> None:
        """Cancel requests from now on as Redis says. Raises RedisError; may be called again."""
        if self._cancellations is None:
            self._cancellations = claims.listen_for_cancellations(self.jobs.cancel)

    def close(self) -> None:
        """Let the jobs finish, within INFERENCE_DRAIN_S, then end. The worker takes no more tasks by now."""
        self._measurings.close()
        self._sweeps.close()
        deadline = time.monotonic() + settings.INFERENCE_DRAIN_S
        while self.jobs and self.engine.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._cancellations is not None:
            self._cancellations.stop()
        self.engine.close()
        self._embeddings.close()
        self._readings.close()
        self.jobs.end_all(EngineClosed("the engine was stopped"))  # an engine that died reports nothing

    def _report(self, events: list[Event]) -> None:
        self.jobs.report(self._background.take(events))

    def answer(self, message: GenerateMessage) -> None:
        """Answer a request and return after its last event; a cancelled request gets none, since nobody reads it."""
        job = self.jobs.claim(message, len(message.prompts) * message.choices)
        if job is None:
            return
        with self.jobs.ending(job):
            requests = self._builder.requests(message, job)
            to_read = AnswersToRead(message.reading, self.readings, requests) if message.reading else None
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

    def embed(self, message: EmbedMessage) -> None:
        """Queue a request for embeddings, which are computed one request after another; returns at once."""
        self._queue(self._embeddings, message, self._embedder.embed)

    def read(self, message: Message) -> None:
        """Queue a request for a reading, which are made one request after another; returns at once."""
        self._queue(self._readings, message, self.readings.answer)

    def _queue(self, queue: SideQueue, message: M, work: Callable[[M, Job], None]) -> None:
        job = self.jobs.claim(message, choices=1)
        if job is None:
            return

        def run() -> None:
            with self.jobs.ending(job):
                work(message, job)

        try:
            queue.submit(run)
        except EngineBusy as error:
            with self.jobs.ending(job):
                raise error


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

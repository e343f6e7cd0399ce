"""The transformers engine in a worker: it reads features and makes embeddings, measurings and sweeps beside chats."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.conf import settings
from transformers import PreTrainedModel

from inference.broker.messages import EmbedMessage, GenerateMessage, Message
from inference.engine.continuations import Continuations
from inference.engine.engine import ContinuousEngine
from inference.engine.loading import embedded_tokens, load, rehearse, vocabulary
from inference.engine.prompt_reader import PromptReader
from inference.engine.reading.sinks import plain_text_has_sink
from inference.engine.steering.passes import PassSteering
from inference.engine.steering.weights import SteeringWeights
from inference.interface import EngineBusy, Event, GenerationRequest
from inference.models import LanguageModel
from inference.sweeps.models import Place
from inference.worker.embedder import Embedder
from inference.worker.job import Job
from inference.worker.measuring.measurings import Measurings
from inference.worker.measuring.run import MeasuringModel
from inference.worker.memory import check_memory
from inference.worker.memory import fits_beside as model_fits_beside
from inference.worker.model_server import ModelServer, limits_from_settings
from inference.worker.reading.answers import AnswersToRead
from inference.worker.reading.encoder_cache import EncoderCache
from inference.worker.reading.readings import Readings
from inference.worker.reading.texts import ReadTexts
from inference.worker.requests.builder import PromptScores, RequestBuilder
from inference.worker.requests.prompts import answer_beginning
from inference.worker.saes.preparation import config_at
from inference.worker.side_queue import SideQueue
from inference.worker.sweeping.answers import BackgroundAnswers
from inference.worker.sweeping.run import SweepModel
from inference.worker.sweeping.sweeps import Sweeps

M = TypeVar("M", bound=Message)


class TransformersServer(ModelServer):
    """A model in this process."""

    KIND = "transformers"
    engine: ContinuousEngine

    def __init__(self, worker: str, model: LanguageModel) -> None:
        super().__init__(worker, model)
        loaded, tokenizer = load(model.path, model.dtype, model.device)
        rows = embedded_tokens(loaded)
        self.device = str(loaded.device)
        reader = PromptReader(loaded)  # before the engine, which takes the model over
        encoders = EncoderCache(reader.model.device)
        weights = SteeringWeights(config_at, encoders.get)
        self._background: BackgroundAnswers[Place] = BackgroundAnswers(lambda: self.engine)
        limits, begins = limits_from_settings(), answer_beginning(tokenizer)
        self.engine = ContinuousEngine(loaded, tokenizer, self._report, weights, limits, begins)
        self._builder = RequestBuilder(
            tokenizer, rows, self.engine, self.engine.texts, PromptScores(self.engine, reader)
        )
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

    @property
    def loaded(self) -> PreTrainedModel:
        return self.engine.model

    def _report(self, events: list[Event]) -> None:
        self.jobs.report(self._background.take(events))

    def _end_background(self) -> None:
        self._measurings.close()
        self._sweeps.close()

    def _end_queues(self) -> None:
        self._embeddings.close()
        self._readings.close()

    def _to_read(self, message: GenerateMessage, requests: Sequence[GenerationRequest]) -> AnswersToRead:
        assert message.reading
        return AnswersToRead(message.reading, self.readings, requests)

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


def prepare(row: LanguageModel, served: ModelServer | None) -> None:
    """Find early what keeps a model from being loaded in place of `served`. Raises what loading raises."""
    rehearse(row.path, row.dtype, row.device)
    check_memory(row, in_place_of=served.loaded if served else None)


def fits_beside(row: LanguageModel, served: ModelServer) -> bool:
    """True where a model fits into memory while `served` stays loaded. Raises BrokenWeights."""
    return served.loaded is not None and model_fits_beside(row, served.loaded)


def server(worker: str, row: LanguageModel) -> ModelServer:
    """Load a model. Raises NotEnoughMemory, BrokenWeights, or what transformers raises."""
    check_memory(row)
    return TransformersServer(worker, row)

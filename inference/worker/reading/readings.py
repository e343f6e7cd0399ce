"""Requests for readings: the features that fire on texts, contrasts, and what the weights say of a feature."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from inference.broker.events import write_events
from inference.broker.messages import (
    ActivationsMessage,
    ContrastMessage,
    ExportMessage,
    FeatureMessage,
    Message,
    VectorMessage,
)
from inference.engine.forms.regions import FormRegions
from inference.engine.prompt_reader import PromptReader
from inference.engine.reading.contrast import contrast
from inference.engine.reading.logit_lens import promoted_tokens
from inference.engine.reading.nearest_features import nearest_features
from inference.engine.reading.reader import FeatureReader, Stage, Steering
from inference.engine.reading.residual_reader import ResidualReader
from inference.engine.reading.top_features import TextFeatures, top_features
from inference.engine.saes.decoder import decoder_rows
from inference.engine.steering.passes import PassSteering
from inference.engine.steering.weights import SteeringWeights
from inference.interface import Event, TimedOut
from inference.worker.job import Job
from inference.worker.reading.encoder_cache import EncoderCache
from inference.worker.reading.export import file_pieces
from inference.worker.reading.texts import ReadTexts
from inference.worker.reading.vectors import made_vector
from inference.worker.requests.prompts import InvalidPrompt
from inference.worker.saes.preparation import config_at
from steering.spec import SAEPlace, SteeringSpec

MOST_ENTRIES = 2**18
"""Features of tokens in the answer to one request, at most: some 20 MB of JSON."""


class Readings:
    """Reads with the model of `prompts` beside the batch; `weights` reads those of a steering.

    Its methods run in the thread of readings, and in the threads of tasks.
    """

    def __init__(
        self,
        texts: ReadTexts,
        prompts: PromptReader,
        encoders: EncoderCache,
        weights: SteeringWeights,
        vocabulary: int,
        regions: FormRegions,
    ) -> None:
        self._regions = regions
        self.texts, self._prompts, self._encoders = texts, prompts, encoders
        self._weights, self._vocabulary = weights, vocabulary

    def reader(self, place: SAEPlace) -> FeatureReader:
        """A reader through the encoder of the SAE at `place`. Raises UnreadableSAE, BrokenDecoder, NotEnoughMemory."""
        return FeatureReader(self._prompts.model, self._encoders.get(place), self._prompts.lock)

    def steering(self, spec: SteeringSpec, stage: Stage, form: str, prompt_tokens: int | None = None) -> Steering:
        """The steering under which texts are read; the tokens after the first `prompt_tokens` are an answer.

        `form` is the form of answers of the model's row.
        """
        passes = PassSteering(spec, self._weights, self.texts.special, self._regions.of(form))
        return Steering(passes, stage, prompt_tokens)

    def answer(self, message: Message, job: Job) -> None:
        """Write the events of a reading. Returns early where the job was cancelled.

        Raises GenerationError, Refused where the SAE cannot be read, or RedisError.
        """
        kinds: dict[type[Message], Callable[[Any, Job], None]] = {
            ActivationsMessage: self._activations,
            ContrastMessage: self._contrast,
            FeatureMessage: self._feature,
            VectorMessage: self._vector,
            ExportMessage: self._export,
        }
        kinds[type(message)](message, job)
        if job.error:
            raise job.error
        if job.left_s < 0:
            raise TimedOut
        if not job.ended.is_set():
            _write(job, "finished", {})
            job.left = 0

    def _activations(self, message: ActivationsMessage, job: Job) -> None:
        texts, reader = self.texts.of(message), self.reader(message.place)
        if (entries := message.top_k * sum(len(text.ids) for text in texts)) > MOST_ENTRIES:
            got = f"got {entries:,} features in all, expected at most {MOST_ENTRIES:,}"
            raise InvalidPrompt(f"{got}: read fewer texts at once, or fewer features of each token", "top_k")
        steering = None
        if message.steering:
            steering = self.steering(message.steering, message.stage, message.answer_form)
        found = top_features(reader, texts, message.top_k, message.features, steering, stop=_stop(job))
        for index, features in found:
            pieces = self.texts.pieces(texts[index].ids)
            _write(job, "read", {"text": index, **read_text(texts[index].ids, pieces, features)})

    def _contrast(self, message: ContrastMessage, job: Job) -> None:
        positive, negative = self.texts.sides(message, message.positives)
        found = contrast(
            self.reader(message.place),
            positive,
            negative,
            pool=message.pool,
            max_density=message.max_density,
            top=message.top,
            stop=_stop(job),
        )
        if not _stop(job)():  # sums of a part of the texts would be another contrast
            _write(job, "contrast", asdict(found))

    def _feature(self, message: FeatureMessage, job: Job) -> None:
        config = config_at(message.place)
        layer = config.layers[-1]  # of a set that spans layers the direction nearest to the unembedding
        [direction] = torch.from_numpy(decoder_rows(config, [message.index], layer))
        tokens = promoted_tokens(self._prompts.model, direction, self._vocabulary, message.top)
        named = {
            side: [(self.texts.name(token), logit) for token, logit in found] for side, found in asdict(tokens).items()
        }
        _write(job, "feature", {**named, "nearest": nearest_features(config, message.index, message.top, layer)})

    def _vector(self, message: VectorMessage, job: Job) -> None:
        reader = ResidualReader(self._prompts.model, message.hook_name, self._prompts.lock)
        sides = self.texts.sides(message, message.positives)
        if found := made_vector(reader, *sides, message.method, message.pool, _stop(job)):
            _write(job, "vector", found)

    def _export(self, message: ExportMessage, job: Job) -> None:
        for piece in file_pieces(message):
            _write(job, "piece", {"base64": piece})


def read_text(ids: Any, pieces: list[tuple[str, bool]], found: TextFeatures) -> dict[str, Any]:
    """The features of a text as JSON: (id, text, is special, features) of each token, and the features of all."""
    tokens = zip(ids, pieces, found.tokens, strict=True)
    return {
        "tokens": [(token, *piece, features) for token, piece, features in tokens],
        "features": [(one.index, one.maximum, one.position, one.total) for one in found.features],
    }


def _stop(job: Job) -> Callable[[], bool]:
    return lambda: job.ended.is_set() or job.left_s < 0


def _write(job: Job, kind: str, data: dict[str, Any]) -> None:
    write_events([(job.inbox, Event(job.request_id, kind, {**data, "index": 0}))])

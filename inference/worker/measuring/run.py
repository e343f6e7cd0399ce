"""One measuring: reads the corpus from where the state was saved last, then the decoder, then stores the results."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from transformers import PreTrainedModel

from inference.broker.messages import ChatPrompt, TextPrompt
from inference.engine.cores import with_all
from inference.engine.reading.logit_lens import PromotedTokens, promoted_by_each
from inference.engine.reading.reader import FeatureReader, Text
from inference.engine.saes.decoder import decoder_chunks
from inference.interface import GenerationError
from inference.measuring.corpus import Prompt
from inference.measuring.models import Line, Measurement, SavedState
from inference.measuring.results import Measured, MeasuredFeature, store
from inference.weights import gib
from inference.worker.leases.lease import Lease
from inference.worker.leases.run import ATTEMPTS, Interrupted, LeasedRun
from inference.worker.measuring.features import features_of
from inference.worker.measuring.state import MeasuringState
from inference.worker.memory import NotEnoughMemory, free_bytes
from inference.worker.reading.texts import ReadTexts
from steering.errors import Refused
from steering.spec import SAEPlace

SAVE_S = 30.0
SAVE_SHARE = 0.05
"""The share of its time that a measuring may take to save its state, which has 210 MB for 65,536 features."""
UPDATE_S = 0.5
GROUP_TEXTS, GROUP_TOKENS = 256, 2048
"""Texts are read in groups. The state is saved between two groups."""
PIECE_TOKENS = 1024
"""A longer text is cut: what a token attends to costs as many steps."""
READING, NAMING = 0.9, 0.1
"""Shares of the progress: of the corpus, and of the tokens that features promote."""
STATE_COPIES = 3
"""The state, its bytes, and these in parts, while it is saved."""
BYTES_PER_FEATURE = 3400
NAMED_AT_ONCE = 256
"""Features whose promoted tokens are found between two looks at the lease."""


@dataclass(frozen=True)
class MeasuringModel:
    """The model that measures: its texts, a copy beside the engine, and a reader for each SAE."""

    texts: ReadTexts
    model: PreTrainedModel
    vocabulary: int
    context_length: int
    reader: Callable[[SAEPlace], FeatureReader]


class Run(LeasedRun[Measurement]):
    """A measuring that this worker holds a lease on."""

    def __init__(self, lease: Lease[Measurement], model: MeasuringModel) -> None:
        super().__init__(lease)
        self._model, self._sae = model, lease.row.sae
        self._updated = self._saved = time.monotonic()
        self._save_s = SAVE_S

    def run(self) -> None:
        """Measure, as `run_job` says."""
        self.run_job(self._begin, self._measure)

    def _begin(self) -> None:
        if self._row.attempts >= ATTEMPTS:
            where = f"text {self._row.position} or those after it"
            raise Refused(f"{ATTEMPTS} workers ended while they measured {where}: see their logs, then try again")
        fields = {"status": Measurement.Status.MEASURING, "attempts": self._row.attempts + 1}
        self._lease.update(**fields, progress=self._row.progress or 0.0)

    def _measure(self) -> None:
        reader = self._model.reader(self._sae.place)
        device, d_sae = reader.encoder.weight.device, reader.encoder.config.d_sae
        self._check_memory(d_sae)
        saved = SavedState.read(self._row)
        state = MeasuringState.from_bytes(saved, device) if saved else MeasuringState.new(d_sae, device)
        position = self._row.position if saved else 0
        position = self._read(reader, state, position)
        self._name(reader, state, position)
        statistics = state.statistics
        features = self._unless_over(features_of(state, self._model.texts))
        measured = Measured(statistics.tokens, statistics.residual_norm, features)
        store(self._sae.pk, measured, self._ended(statistics.tokens))

    def _check_memory(self, d_sae: int) -> None:
        needed, host = STATE_COPIES * BYTES_PER_FEATURE * d_sae, torch.device("cpu")
        if needed > (free := free_bytes(host)):
            raise NotEnoughMemory(
                f"measuring {d_sae:,} features needs {gib(needed)} on the host, and {gib(free)} are free: "
                "choose a smaller SAE, or set INFERENCE_CACHE_TOKENS lower"
            )

    # --- the corpus ---

    def _read(self, reader: FeatureReader, state: MeasuringState, position: int) -> int:
        """Add the texts from `position` on; returns their number."""
        lines = self._row.texts(position)
        while group := self._group(lines):
            count, texts = group
            if not with_all(partial(state.statistics.add, reader, texts, self._lease.is_over)):
                raise Interrupted
            position += count
            share = READING * position / max(1, self._row.lines)
            self._update(share, state, position)
        if position < self._row.lines:  # the texts were dropped: it is cancelled
            raise Interrupted
        return position

    def _group(self, lines: Iterator[Line]) -> tuple[int, list[Text]] | None:
        """(number of lines, texts) of the next lines; None at the end."""
        count, tokens, texts = 0, 0, list[Text]()
        for where, prompt in islice(lines, GROUP_TEXTS):
            pieces = self._pieces(where, prompt)
            texts += pieces
            count += 1
            tokens += sum(len(piece.ids) for piece in pieces)
            if tokens >= GROUP_TOKENS:
                break
        return (count, texts) if count else None

    def _pieces(self, where: str, prompt: Prompt) -> list[Text]:
        """The text of a line, in pieces that the model can read. Raises GenerationError, which names the line."""
        try:
            text = self._model.texts.whole(_prompt(prompt))
        except GenerationError as error:
            raise InvalidLine(f"{where}: {error}") from error
        return list(pieces_of(text, min(PIECE_TOKENS, self._model.context_length)))

    # --- the decoder ---

    def _name(self, reader: FeatureReader, state: MeasuringState, position: int) -> None:
        """Find the tokens that the features promote, from the first feature without any on."""
        start, config = 0, reader.encoder.config
        for chunk in decoder_chunks(config):
            directions = torch.from_numpy(chunk[max(0, state.named - start) :]).to(self._model.model.device)
            start += len(chunk)
            if not len(directions):
                continue
            for rows in directions.split(NAMED_AT_ONCE):
                for found in with_all(partial(self._promoted, rows)):
                    state.name(found)
                self._update(READING + NAMING * state.named / config.d_sae, state, position)

    def _promoted(self, directions: torch.Tensor) -> list[PromotedTokens]:
        return [*promoted_by_each(self._model.model, directions, self._model.vocabulary)]

    # --- progress and results ---

    def _update(self, progress: float, state: MeasuringState, position: int) -> None:
        """Write the progress and save the state, each when it is time. Raises Interrupted."""
        now = time.monotonic()
        if now - self._updated >= UPDATE_S:
            self._updated = now
            if self._lease.is_over():
                raise Interrupted
            self._lease.update(progress=progress, tokens=state.statistics.tokens)
        if now - self._saved >= self._save_s:
            self._save(state, position)
            self._saved = time.monotonic()
            self._save_s = max(SAVE_S, (self._saved - now) / SAVE_SHARE)

    def _save(self, state: MeasuringState, position: int) -> None:
        saved = state.to_bytes()
        with self._lease.hold() as row:
            SavedState.write(row, saved)
            Measurement.objects.filter(pk=row.pk).update(position=position, attempts=0)

    def _unless_over(self, features: Iterator[MeasuredFeature]) -> Iterator[MeasuredFeature]:
        """The features. Raises Interrupted: a million examples take minutes, and a worker that stops waits for them."""
        for feature in features:
            if self._lease.is_over():
                raise Interrupted
            yield feature

    @contextmanager
    def _ended(self, tokens: int) -> Iterator[None]:
        """End the measuring in the transaction of its results, unless it was cancelled meanwhile. Raises LeaseLost."""
        with self._lease.hold() as row:
            row.drop_corpus()
            ended = {"status": Measurement.Status.MEASURED, "progress": 1.0, "error": ""}
            Measurement.objects.filter(pk=row.pk).update(**ended, tokens=tokens)
            yield


class InvalidLine(GenerationError):
    """A line of the corpus of which the model makes no tokens."""

    code = "invalid_corpus"


def _prompt(prompt: Prompt) -> ChatPrompt | TextPrompt:
    return TextPrompt(text=prompt) if isinstance(prompt, str) else ChatPrompt(messages=list(prompt))


def pieces_of(text: Text, tokens: int) -> Iterator[Text]:
    """The text in pieces of up to `tokens` tokens, each of which begins with its first token where that is special."""
    head = 1 if len(text.ids) > 1 and not text.counts[0] else 0
    step = tokens - head
    for start in range(head, len(text.ids), step):
        ids, counts = text.ids[start : start + step], text.counts[start : start + step]
        yield Text([*text.ids[:head], *ids], [*text.counts[:head], *counts])

"""A measuring goes on from its last saved state, and writes all of its results or none."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from django.db import connection

from inference.engine.detokenizer import TokenTexts
from inference.engine.reading.reader import FeatureReader, Text
from inference.engine.reading.statistics import measure
from inference.engine.saes.encoders import load_encoder
from inference.measuring.corpus import CorpusFile
from inference.measuring.models import CorpusChunk, Measurement, SavedState
from inference.models import LanguageModel
from inference.tests.tiny import CONTEXT, D_SAE, tiny_model, tiny_sae, tiny_tokenizer
from inference.worker.leases import lease as leases
from inference.worker.leases.run import ATTEMPTS
from inference.worker.measuring import run as module
from inference.worker.measuring.features import features_of
from inference.worker.measuring.measurings import measure_next
from inference.worker.measuring.run import MeasuringModel, pieces_of
from inference.worker.reading.texts import ReadTexts
from inference.worker.saes.preparation import config_at
from steering.features.models import Feature, FeatureExample
from steering.models import SAE
from steering.spec import SAEPlace

pytestmark = pytest.mark.django_db(transaction=True)

LINES = [f"the fox number {number} jumps over {'the lazy dog ' * (number % 5)}" for number in range(60)]
VOCABULARY = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny_model().save_pretrained(root / "tiny")
    tiny_sae(root / "sae")
    return root


@pytest.fixture
def sae(folder: Path) -> SAE:
    LanguageModel.objects.register(str(folder / "tiny"), anywhere=True).make_current()
    return SAE.objects.register(str(folder / "sae"), sae_id="s", anywhere=True)


@pytest.fixture(scope="module")
def model() -> MeasuringModel:
    tokenizer, loaded, lock = tiny_tokenizer(), tiny_model(), threading.Lock()
    texts = ReadTexts(tokenizer, TokenTexts(tokenizer.backend_tokenizer), 320, CONTEXT)

    def reader(place: SAEPlace) -> FeatureReader:
        return FeatureReader(loaded, load_encoder(config_at(place), "cpu", torch.float32), lock)

    return MeasuringModel(texts, loaded, VOCABULARY, CONTEXT, reader)


def corpus(text: str, name: str = "corpus.txt") -> list[CorpusFile]:
    return [CorpusFile(io.BytesIO(text.encode()), name)]


def start(sae: SAE, text: str = "\n".join(LINES)) -> Measurement:
    return Measurement.objects.start(sae, corpus(text))


Take = Callable[..., bool]
"""Takes up a measuring as the thread of a worker does, until its argument returns True."""


@pytest.fixture
def take(model: MeasuringModel) -> Take:
    def take_up(is_stopping: Callable[[], bool] = lambda: False, name: str = "tiny") -> bool:
        return measure_next(name, model, is_stopping)

    return take_up


def now(row: Measurement) -> Measurement:
    row.refresh_from_db()
    return row


@pytest.fixture
def saves_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_S", 0.0)
    monkeypatch.setattr(module, "SAVE_SHARE", 1e9)
    monkeypatch.setattr(module, "UPDATE_S", 0.0)
    monkeypatch.setattr(module, "GROUP_TEXTS", 10)


def stop_after(calls: int) -> Callable[[], bool]:
    """True after as many calls."""
    left: Iterator[int] = iter(range(calls))
    return lambda: next(left, None) is None


def results() -> tuple[list[Any], list[Any]]:
    fields = ("index", "maximum", "density", "mean", "histogram", "promoted", "suppressed", "statistics_source")
    examples = ("index", "rank", "source", "tokens", "values", "maximum")
    return list(Feature.objects.values_list(*fields)), list(FeatureExample.objects.values_list(*examples))


def test_what_is_measured_is_written_to_the_features(sae: SAE, model: MeasuringModel, take: Take) -> None:
    row = start(sae)
    assert (row.status, row.waits, row.lines) == ("queued", True, len(LINES))
    assert take()
    assert (now(row).status, row.error, row.progress, row.due_at) == ("measured", "", 1.0, None)
    assert not CorpusChunk.objects.exists()
    assert not take()
    texts = [model.texts.whole({"text": line.strip()}) for line in LINES]
    expected = measure(model.reader(sae.place), texts)
    sae.refresh_from_db()
    assert sae.measured_tokens == row.tokens == expected.tokens
    assert float(sae.residual_norm or 0) == pytest.approx(float(expected.residual_norm or 0), rel=1e-4)
    features: list[Any] = list(Feature.objects.filter(sae=sae))
    assert [one.index for one in features] == list(range(D_SAE))
    np.testing.assert_allclose([one.maximum for one in features], expected.maxima, rtol=1e-4)
    np.testing.assert_allclose([one.density * row.tokens for one in features], expected.fired, atol=1.01)
    feature = max(features, key=lambda one: one.maximum)
    histogram: Any = expected.histogram(expected.histograms[feature.index].tolist())
    assert feature.histogram["counts"] == pytest.approx(histogram["counts"], abs=1)
    assert feature.mean == pytest.approx(expected.totals[feature.index] / expected.fired[feature.index], rel=1e-3)
    assert len(feature.promoted) == len(feature.suppressed) == 10
    assert feature.promoted[0][1] > feature.promoted[-1][1] > feature.suppressed[0][1]
    [best, *_] = FeatureExample.objects.filter(sae=sae, index=feature.index)
    assert max(best.values) == best.maximum == feature.maximum
    assert any("".join(best.tokens).strip() in line for line in LINES)


@pytest.mark.usefixtures("saves_often")
@pytest.mark.parametrize("calls", [3, 9, 25])
def test_a_measuring_that_is_interrupted_goes_on_to_the_same_results(sae: SAE, take: Take, calls: int) -> None:
    start(sae)
    assert take()
    uninterrupted = results()
    row = start(sae)
    assert take(stop_after(calls))
    assert (now(row).status, row.waits) == ("measuring", True)
    begun = row.position
    assert SavedState.objects.exists() == (begun > 0)
    assert take()
    assert now(row).status == "measured"
    assert results() == uninterrupted
    assert not SavedState.objects.exists()


@pytest.mark.usefixtures("saves_often")
def test_a_measuring_goes_on_after_its_saved_texts(sae: SAE, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    row = start(sae)
    assert take(stop_after(9))
    begun = now(row).position
    assert 0 < begun < len(LINES)
    asked: list[int] = []
    texts = Measurement.texts

    def recorded(row: Measurement, position: int) -> Iterator[Any]:
        asked.append(position)
        return texts(row, position)

    monkeypatch.setattr(Measurement, "texts", recorded)
    assert take()
    assert asked == [begun]


def test_a_measuring_that_is_interrupted_while_it_is_stored_leaves_nothing_and_goes_on(
    sae: SAE, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, stopping = start(sae), threading.Event()

    def stops_soon(*args: Any) -> Iterator[Any]:
        for feature in features_of(*args):
            yield feature
            stopping.set()

    monkeypatch.setattr(module, "features_of", stops_soon)
    assert take(stopping.is_set)
    assert stopping.is_set()
    assert (now(row).status, row.waits, row.attempts) == ("measuring", True, 0)
    assert not Feature.objects.exists()
    assert take()
    assert now(row).status == "measured"
    assert Feature.objects.count() == D_SAE


def test_a_worker_of_another_model_takes_no_measuring(sae: SAE, take: Take) -> None:
    row = start(sae)
    assert not take(name="other")
    assert now(row).waits


@pytest.mark.usefixtures("saves_often")
def test_a_cancelled_measuring_ends_and_writes_nothing(sae: SAE, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 0.3)
    row = start(sae, "\n".join(LINES * 50))
    ended = threading.Event()

    def work() -> None:
        take()
        connection.close()
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 30
    while now(row).position == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    row.cancel()
    thread.join(30)
    assert ended.is_set()
    assert (now(row).status, row.due_at, row.progress) == ("cancelled", None, None)
    assert not Feature.objects.exists()
    assert not CorpusChunk.objects.exists()
    assert not SavedState.objects.exists()
    assert Measurement.objects.start(sae, corpus("again")).status == "queued"


def test_what_cannot_be_read_is_an_error_of_the_row_and_may_be_tried_again(sae: SAE, folder: Path, take: Take) -> None:
    weights = folder / "sae" / "sae_weights.safetensors"
    whole = weights.read_bytes()
    row = start(sae)
    weights.unlink()
    try:
        assert take()
        assert (now(row).status, row.due_at) == ("error", None)
        assert "sae" in row.error
        assert not take()
    finally:
        weights.write_bytes(whole)
    row.retry()
    assert take()
    assert now(row).status == "measured"


def test_features_that_do_not_fit_into_memory_are_an_error_of_the_row(
    sae: SAE, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda _: 1000)
    row = start(sae)
    assert take()
    assert (now(row).status, "0.0 GiB are free" in row.error) == ("error", True)


def test_a_line_that_the_chat_template_refuses_is_named(sae: SAE, take: Take) -> None:
    lines = [{"text": "the fox"}, {"messages": [{"role": "user", "content": "hello"}]}]
    row = start(sae, "\n".join(map(json.dumps, lines)))
    assert take()
    assert now(row).status == "error"
    assert row.error.startswith("corpus.txt, line 2: this model has no chat template")


def test_a_corpus_at_which_workers_die_is_given_up(sae: SAE, take: Take) -> None:
    row = start(sae)
    Measurement.objects.update(attempts=ATTEMPTS)
    assert take()
    assert now(row).status == "error"
    assert "5 workers ended while they measured text 0" in row.error


def test_a_long_text_is_cut_into_pieces_that_begin_with_its_special_token() -> None:
    text = Text([0, *range(2, 22)], [False, *[True] * 20])
    pieces = list(pieces_of(text, 8))
    assert [piece.ids for piece in pieces] == [[0, *range(2, 9)], [0, *range(9, 16)], [0, *range(16, 22)]]
    assert all(list(piece.counts) == [False, *[True] * (len(piece.ids) - 1)] for piece in pieces)
    plain = Text(list(range(10)), [True] * 10)
    assert [len(piece.ids) for piece in pieces_of(plain, 8)] == [8, 2]
    assert list(pieces_of(Text([0], [False]), 8)) == [Text([0], [False])]


def test_measuring_again_replaces_what_was_measured_and_keeps_what_was_not(sae: SAE, take: Take) -> None:
    Feature.objects.create(sae=sae, index=3, nearest=[[4, 0.5]], maximum=99.0, statistics_source="neuronpedia")
    FeatureExample.objects.create(sae=sae, index=3, source="neuronpedia", rank=0, tokens=["a"], values=[1], maximum=1)
    FeatureExample.objects.create(sae=sae, index=3, source="measured", rank=77, tokens=["a"], values=[1], maximum=1)
    start(sae)
    assert take()
    feature = Feature.objects.get(sae=sae, index=3)
    assert (feature.nearest, feature.statistics_source) == ([[4, 0.5]], "measured")
    assert feature.maximum != 99.0
    assert FeatureExample.objects.filter(source="neuronpedia").count() == 1
    assert not FeatureExample.objects.filter(rank=77).exists()

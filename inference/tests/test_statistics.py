"""Statistics of features over texts equal those of a plain loop over all activations."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from inference.engine.reading import reader as reading
from inference.engine.reading.reader import PASS_TOKENS, FeatureReader, Text
from inference.engine.reading.statistics import AROUND, EDGES, NotFinite, Statistics, groups, measure
from inference.engine.saes.encoders import Encoder, load_encoder
from inference.tests.tiny import D_SAE, tiny_model, tiny_sae
from steering.formats import read_config

SPECIAL = 0
EXAMPLES = 3


def text(seed: int, length: int) -> Text:
    ids = [SPECIAL, *[(seed * 31 + 17 * at * at) % 300 + 2 for at in range(length - 1)]]
    return Text(ids, [one != SPECIAL for one in ids])


TEXTS = [text(seed, 3 + 7 * seed) for seed in range(12)]
LONG = text(99, 2 * PASS_TOKENS + 40)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(read_config(tiny_sae(tmp_path_factory.mktemp("sae"))), "cpu", torch.float32)


@pytest.fixture
def reader(encoder: Encoder) -> FeatureReader:
    return FeatureReader(tiny_model(), encoder, threading.Lock())


def plain(encoder: Encoder, texts: list[Text]) -> tuple[list[Any], list[Any]]:
    """(activations, norms of the residual stream) of each text by transformers, zero where a token does not count."""
    model = tiny_model()
    with torch.no_grad():
        streams = [model(torch.tensor([one.ids]), output_hidden_states=True).hidden_states[2][0] for one in texts]
    activations = [
        encoder.encode(stream).numpy() * np.array(one.counts)[:, None]
        for one, stream in zip(texts, streams, strict=True)
    ]
    norms = [stream[torch.tensor(one.counts)].norm(dim=1).numpy() for one, stream in zip(texts, streams, strict=True)]
    return activations, norms


@pytest.mark.parametrize("texts", [TEXTS, [*TEXTS, LONG], [LONG]])
def test_sums_maxima_and_histograms_are_those_of_all_activations(
    reader: FeatureReader, encoder: Encoder, texts: list[Text]
) -> None:
    measured = measure(reader, texts, EXAMPLES)
    activations, norms = plain(encoder, texts)
    together = np.concatenate(activations)
    assert measured.tokens == sum(sum(one.counts) for one in texts)
    assert measured.residual_norm == pytest.approx(np.concatenate(norms).mean(), rel=1e-4)
    np.testing.assert_allclose(measured.maxima, together.max(axis=0), rtol=1e-4)
    np.testing.assert_allclose(measured.totals, together.sum(axis=0), rtol=1e-3)
    # an activation within rounding of 0 or of an edge may be on its other side
    assert np.abs(measured.fired - (together > 0).sum(axis=0)).max() <= 1
    for feature in range(D_SAE):
        fired = together[:, feature][together[:, feature] > 0]
        expected = np.histogram(fired, bins=np.concatenate([[0.0], EDGES[1:-1], [np.inf]]))[0]
        assert np.abs(measured.histograms[feature].numpy() - expected).sum() <= 2
        shown = measured.histogram(measured.histograms[feature].tolist())
        assert shown is None or (sum(shown["counts"]) == measured.fired[feature] and shown["counts"][0] > 0)
        assert shown is None or len(shown["edges"]) == len(shown["counts"]) + 1


def test_the_examples_of_a_feature_are_the_texts_in_which_it_fires_most(
    reader: FeatureReader, encoder: Encoder
) -> None:
    measured = measure(reader, TEXTS, EXAMPLES)
    activations, _ = plain(encoder, TEXTS)
    for feature in range(D_SAE):
        columns = [one[:, feature] for one in activations]
        best = sorted(range(len(TEXTS)), key=lambda at: -columns[at].max())[:EXAMPLES]
        best = [at for at in best if columns[at].max() > 0]
        found = list(measured.examples(feature))
        np.testing.assert_allclose([one.maximum for one in found], [columns[at].max() for at in best], rtol=1e-4)
        for example, at in zip(found, best, strict=True):
            place = int(columns[at].argmax())
            window = slice(max(0, place - AROUND), place + AROUND + 1)
            assert example.tokens == list(TEXTS[at].ids[window])
            np.testing.assert_allclose(example.values, columns[at][window], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rows", [PASS_TOKENS, 5, 40])
def test_the_window_of_an_example_reaches_over_the_ends_of_the_parts_of_a_long_text(
    reader: FeatureReader, encoder: Encoder, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ACTIVATIONS", rows * D_SAE)
    measured = measure(reader, [LONG], 1)
    [activations], _ = plain(encoder, [LONG])
    for feature in range(D_SAE):
        column = activations[:, feature]
        [example] = measured.examples(feature)
        assert example.maximum == pytest.approx(column.max(), rel=1e-4)
        place = int(column.argmax())
        window = slice(max(0, place - AROUND), place + AROUND + 1)
        assert example.tokens == list(LONG.ids[window])
        np.testing.assert_allclose(example.values, column[window], rtol=1e-3, atol=1e-3)


def test_what_is_restored_goes_on_as_if_it_had_not_been_saved(reader: FeatureReader) -> None:
    whole = Statistics(D_SAE, "cpu", EXAMPLES)
    for group in (TEXTS[:5], TEXTS[5:]):
        assert whole.add(reader, group)
    begun = Statistics(D_SAE, "cpu", EXAMPLES)
    assert begun.add(reader, TEXTS[:5])
    restored = Statistics.restore(begun.save())
    assert restored.add(reader, TEXTS[5:])
    for name, array in whole.save().items():
        np.testing.assert_array_equal(restored.save()[name], array, err_msg=name)


def test_a_reading_that_is_stopped_reports_it(reader: FeatureReader) -> None:
    asked = iter([False, True])
    statistics = Statistics(D_SAE)
    assert not statistics.add(reader, [LONG, LONG], stop=lambda: next(asked, True))
    assert 0 < statistics.tokens < len(LONG.ids)


def test_texts_without_a_token_that_counts_add_nothing(reader: FeatureReader) -> None:
    measured = measure(reader, [Text([5, 6], [False, False])])
    assert (measured.tokens, measured.residual_norm, measured.fired.sum()) == (0, None, 0)
    assert not list(measured.examples(0))
    assert measured.histogram(measured.histograms[0].tolist()) is None


def test_a_residual_stream_that_is_not_finite_is_an_error(encoder: Encoder) -> None:
    broken = replace(encoder, bias=torch.tensor(torch.inf))
    with pytest.raises(NotFinite, match="not finite: load the model with another dtype"):
        measure(FeatureReader(tiny_model(), broken, threading.Lock()), TEXTS[:2])


def test_groups_of_texts_keep_their_order() -> None:
    assert [len(group) for group in groups(TEXTS, 40)] == [4, 2, 1, 1, 1, 1, 1, 1]
    assert [one for group in groups(TEXTS, 40) for one in group] == TEXTS


def test_the_memory_of_a_feature_is_what_the_documentation_states() -> None:
    statistics = Statistics(1000)
    taken = sum(array.nbytes for array in statistics.save().values())
    assert taken / 1000 == pytest.approx(210e6 / 65_536, rel=0.02)

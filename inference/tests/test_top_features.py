"""The top features of every token of a text, and the sums over it, beside a naive reckoning of the same."""

import pytest
import torch

from inference.engine.reading.reader import PASS_TOKENS, FeatureReader, Text
from inference.engine.reading.top_features import TextFeatures, top_features
from inference.tests.tiny import tiny_reader

LONG = [(37 * position) % 300 + 2 for position in range(2 * PASS_TOKENS + 5)]
TEXTS = [Text(ids, [index % 3 != 0 for index in range(len(ids))]) for ids in ([5, 9, 31], LONG, [0, 7, 7, 12, 300])]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FeatureReader:
    return tiny_reader(tmp_path_factory.mktemp("sae"))


def activations(reader: FeatureReader, text: Text) -> list[list[float]]:
    """[token][feature], nothing for a token that does not count."""
    rows = torch.cat([chunk.activations for chunk in reader.chunks([text.ids])]).tolist()
    return [row if counts else [0.0] * len(row) for row, counts in zip(rows, text.counts, strict=True)]


def check_token(found: list[tuple[int, float]], row: list[float], best: list[int]) -> None:
    fired = [feature for feature in best if row[feature] > 0]
    assert [feature for feature, _ in found] == fired
    assert [value for _, value in found] == pytest.approx([row[feature] for feature in fired], abs=1e-4)


def check_features(found: TextFeatures, rows: list[list[float]]) -> None:
    for one in found.features:
        values = [row[one.index] for row in rows]
        assert one.maximum == pytest.approx(max(values), abs=1e-4)
        assert values[one.position] == pytest.approx(max(values), abs=1e-4)
        assert one.total == pytest.approx(sum(values), rel=1e-4)


def test_each_token_has_its_largest_features_and_each_feature_its_sums(reader: FeatureReader) -> None:
    found = dict(top_features(reader, TEXTS, top_k=4))
    assert found.keys() == {0, 1, 2}
    for index, text in enumerate(TEXTS):
        rows = activations(reader, text)
        for row, counts, token in zip(rows, text.counts, found[index].tokens, strict=True):
            best = sorted(range(len(row)), key=lambda feature: -row[feature])[:4]
            check_token(token, row, best)
            assert counts or not token
        maxima = [one.maximum for one in found[index].features]
        assert maxima == sorted(maxima, reverse=True)
        assert {one.index for one in found[index].features} == {f for token in found[index].tokens for f, _ in token}
        check_features(found[index], rows)


def test_the_features_asked_for_are_the_only_ones(reader: FeatureReader) -> None:
    [(_, found)] = top_features(reader, [TEXTS[1]], top_k=2, features=[60, 3, 17])
    rows = activations(reader, TEXTS[1])
    assert [one.index for one in found.features] == [60, 3, 17]
    check_features(found, rows)
    for row, token in zip(rows, found.tokens, strict=True):
        best = sorted([60, 3, 17], key=lambda feature: -row[feature])[:2]
        check_token(token, row, best)

"""Two sets of texts compared feature by feature, beside a naive reckoning of the same."""

import json
import random
import threading
from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.demo.tiny.grammar import TOPICS, sentence
from inference.engine.reading.contrast import Pool, auc, contrast, residual_auc
from inference.engine.reading.reader import FeatureReader, Text
from inference.engine.saes.encoders import load_encoder
from inference.tests.tiny import tiny_reader
from steering.formats import read_config


def some_texts(count: int, seed: int) -> list[Text]:
    generator = torch.Generator().manual_seed(seed)
    texts = []
    for length in torch.randint(2, 30, (count,), generator=generator).tolist():
        ids = torch.randint(2 + 100 * seed, 90 + 100 * seed, (length,), generator=generator).tolist()
        texts.append(Text(ids, [False, *[True] * (length - 1)]))
    return texts


POSITIVE, NEGATIVE = some_texts(6, 0), some_texts(5, 2)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> FeatureReader:
    return tiny_reader(tmp_path_factory.mktemp("sae"))


def activations(reader: FeatureReader, text: Text) -> list[list[float]]:
    """Those of the tokens that count: [token][feature]."""
    rows = torch.cat([chunk.activations for chunk in reader.chunks([text.ids])]).tolist()
    return [row for row, counts in zip(rows, text.counts, strict=True) if counts]


def naive_auc(positive: list[float], negative: list[float]) -> float:
    pairs = [*product(positive, negative)]
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_features_are_ranked_by_the_difference_of_their_mean_scores(reader: FeatureReader, pool: Pool) -> None:
    found = contrast(reader, POSITIVE, NEGATIVE, pool=pool, top=64)
    positive, negative = ([activations(reader, text) for text in side] for side in (POSITIVE, NEGATIVE))
    tokens = [row for text in [*positive, *negative] for row in text]

    def score(text: list[list[float]], feature: int) -> float:
        values = [row[feature] for row in text]
        return max(values) if pool == "max" else sum(values) / len(values)

    for one in [*found.features, *found.opposed]:
        scores = [[score(text, one.index) for text in side] for side in (positive, negative)]
        means = [sum(side) / len(side) for side in scores]
        assert one.difference == pytest.approx(means[0] - means[1], abs=1e-4)
        assert one.auc == pytest.approx(naive_auc(*scores), abs=1e-5)
        fires = [[any(row[one.index] > 0 for row in text) for text in side] for side in (positive, negative)]
        assert [one.positive_share, one.negative_share] == pytest.approx([sum(side) / len(side) for side in fires])
        assert one.density == pytest.approx(sum(row[one.index] > 0 for row in tokens) / len(tokens))
    differences = [one.difference for one in found.features]
    assert differences == sorted(differences, reverse=True)
    assert differences[-1] > 0
    assert [one.difference for one in found.opposed] == sorted(one.difference for one in found.opposed)
    assert {one.index for one in found.features}.isdisjoint(one.index for one in found.opposed)
    assert len(found.features) + len(found.opposed) > 50


def test_what_fires_on_nearly_every_token_is_left_out(reader: FeatureReader) -> None:
    every = contrast(reader, POSITIVE, NEGATIVE, top=64)
    densities = sorted(one.density for one in every.features)
    bound = densities[len(densities) // 2]
    some = contrast(reader, POSITIVE, NEGATIVE, top=64, max_density=bound)
    assert [one.index for one in some.features] == [one.index for one in every.features if one.density <= bound]


def test_only_as_many_features_come_as_are_asked_for(reader: FeatureReader) -> None:
    assert len(contrast(reader, POSITIVE, NEGATIVE, top=3).features) == 3


def test_texts_that_are_the_same_differ_in_nothing(reader: FeatureReader) -> None:
    found = contrast(reader, POSITIVE, POSITIVE)
    assert all(abs(one.difference) < 1e-5 for one in [*found.features, *found.opposed])  # of adding in another order


def test_an_auc_counts_ties_half() -> None:
    assert auc(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.0]])).tolist() == [0.875]


def test_noise_is_told_from_noise_by_no_direction_though_it_has_more_dimensions_than_texts() -> None:
    """A direction that had seen the text that it scores would tell every one."""
    noise = torch.randn(80, 512, generator=torch.Generator().manual_seed(0))
    area = residual_auc(noise, 40)
    assert area is not None
    assert 0.3 < area < 0.7
    shifted = noise + torch.cat([torch.ones(40, 1), torch.zeros(40, 1)]) * 0.5
    assert (residual_auc(shifted, 40) or 0) > 0.95


def test_of_one_text_no_direction_is_left(reader: FeatureReader) -> None:
    assert contrast(reader, POSITIVE[:1], NEGATIVE).residual_auc is None


DEMO = Path(__file__).parent.parent / "demo" / "tiny" / "files"


def test_ten_sentences_a_side_find_the_features_of_every_topic_of_the_demo() -> None:
    """The features of the profile that steers to the topic, which a search by steering found, are the first ones."""
    model = AutoModelForCausalLM.from_pretrained(DEMO / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    encoder = load_encoder(read_config(DEMO / "sae"), "cpu", torch.float32)
    reader, rng = FeatureReader(model, encoder, threading.Lock()), random.Random(0)

    def some(topics: list[str]) -> list[Text]:
        ids = [tokenizer(sentence(rng.choice(topics), rng))["input_ids"] for _ in range(10)]
        return [Text(one, [token not in tokenizer.all_special_ids for token in one]) for one in ids]

    for topic in TOPICS:
        [document] = (DEMO / "profiles").glob(f"*{topic}*.json")
        strengths = json.loads(document.read_text())["profile"]["steering"]
        found = contrast(reader, some([topic]), some([*TOPICS.keys() - {topic}]))
        first = {one.index for one in found.features[:5]}
        assert {int(index) for index in strengths} & first, topic
        assert found.features[0].auc > 0.95
        assert (found.residual_auc or 0) > 0.9

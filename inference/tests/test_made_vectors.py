"""Vectors made of two sets of texts, beside a naive reckoning of the same."""

import json
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from inference.demo.tiny.grammar import TOPICS, sentence
from inference.engine.reading.reader import Text
from inference.engine.reading.residual_reader import PASS_TOKENS, ResidualReader
from inference.engine.reading.vectors import MadeVector, Method, Pool, make_vector, principal_component
from inference.engine.saes.decoder import decoder_rows
from inference.tests.tiny import D_MODEL, LAYERS, tiny_model
from steering.formats import read_config


def some_texts(count: int, seed: int) -> list[Text]:
    """Texts of which the first token, and every fifth, does not count; one takes two passes."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [*torch.randint(2, 30, (count - 1,), generator=generator).tolist(), PASS_TOKENS + 40]
    low = 2 + 100 * seed
    ids = [torch.randint(low, low + 88, (length,), generator=generator).tolist() for length in lengths]
    return [Text(one, [position % 5 != 0 for position in range(len(one))]) for one in ids]


METHODS: tuple[Method, ...] = ("difference", "pca")
POSITIVE, NEGATIVE = some_texts(7, 0), some_texts(7, 2)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model()


def reader(model: PreTrainedModel, layer: int, hook_point: str = "hook_resid_post") -> ResidualReader:
    return ResidualReader(model, f"blocks.{layer}.{hook_point}", threading.Lock())


def made(*args: Any, **options: Any) -> MadeVector:
    found = make_vector(*args, **options)
    assert found is not None
    return found


def check_equal(vector: torch.Tensor, expected: Any) -> None:
    assert torch.allclose(vector, torch.tensor(expected).float(), atol=1e-3 * float(np.linalg.norm(expected)))


@torch.no_grad()
def pooled(model: PreTrainedModel, text: Text, layer: int, pool: str) -> list[float]:
    """By a whole forward pass, of which all hidden states are kept."""
    read: list[torch.Tensor] = []
    handle = model.model.layers[layer].register_forward_hook(lambda _module, _args, output: read.append(output))
    model(torch.tensor([text.ids]))
    handle.remove()
    hidden = read[0][0] if isinstance(read[0], torch.Tensor) else read[0][0][0]
    rows = [row.tolist() for row, counts in zip(hidden, text.counts, strict=True) if counts]
    return rows[-1] if pool == "last" else [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def naive(model: PreTrainedModel, layer: int, method: str, pool: str, sides: Sequence[Sequence[Text]]) -> np.ndarray:
    first, second = ([pooled(model, text, layer, pool) for text in side] for side in sides)
    if method == "difference":
        means = [[sum(column) / len(side) for column in zip(*side, strict=True)] for side in (first, second)]
        return np.array([one - other for one, other in zip(*means, strict=True)])
    differences = [np.array(one) - np.array(other) for one, other in zip(first, second, strict=True)]
    square = sum(np.outer(one, one) for one in differences)
    axis = np.linalg.eigh(square).eigenvectors[:, -1]
    votes = [one @ axis > other @ axis for one, other in zip(np.array(first), np.array(second), strict=True)]
    sign = 1 if sum(votes) * 2 > len(votes) else -1
    return np.asarray(sign * axis * np.mean([np.linalg.norm(one) for one in differences]))


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("pool", ["mean", "last"])
@pytest.mark.parametrize("method", METHODS)
def test_a_vector_is_what_the_formula_says(model: PreTrainedModel, method: Method, pool: Pool, layer: int) -> None:
    vector = made(reader(model, layer), POSITIVE, NEGATIVE, method=method, pool=pool).vector
    assert (vector.shape, vector.dtype) == ((D_MODEL,), torch.float32)
    check_equal(vector, naive(model, layer, method, pool, (POSITIVE, NEGATIVE)))


def test_the_residual_stream_before_a_block_is_that_after_the_block_before(model: PreTrainedModel) -> None:
    before = made(reader(model, 1, "hook_resid_pre"), POSITIVE, NEGATIVE).vector
    after = made(reader(model, 0), POSITIVE, NEGATIVE).vector
    assert torch.allclose(before, after, atol=1e-5)


def test_the_sides_may_have_different_numbers_of_texts(model: PreTrainedModel) -> None:
    vector = made(reader(model, 1), POSITIVE[:3], NEGATIVE).vector
    check_equal(vector, naive(model, 1, "difference", "mean", (POSITIVE[:3], NEGATIVE)))


@pytest.mark.parametrize("method", METHODS)
def test_the_sides_exchanged_give_the_opposite_vector(model: PreTrainedModel, method: Method) -> None:
    one = made(reader(model, 1), POSITIVE, NEGATIVE, method=method).vector
    other = made(reader(model, 1), NEGATIVE, POSITIVE, method=method).vector
    assert torch.allclose(one, -other, atol=1e-4)


def test_of_one_pair_both_methods_give_its_difference(model: PreTrainedModel) -> None:
    one, other = (made(reader(model, 1), POSITIVE[:1], NEGATIVE[:1], method=method) for method in METHODS)
    assert torch.allclose(one.vector, other.vector, atol=1e-4)
    assert one.auc is None


def test_what_all_pairs_have_in_common_is_the_principal_component() -> None:
    """Centred, as repeng's default, the component would be the noise."""
    generator = torch.Generator().manual_seed(0)
    common = torch.zeros(16)
    common[3] = 5.0
    noise = torch.randn(10, 1, generator=generator) * torch.eye(16)[7]
    found = principal_component(common + noise)
    assert torch.cosine_similarity(found, common, dim=0) > 0.95
    assert float(found.norm()) == pytest.approx(float((common + noise).norm(dim=1).mean()), rel=1e-5)


def test_the_sign_is_that_of_most_pairs_and_of_their_sum_where_these_are_as_many() -> None:
    axis = torch.tensor([0.0, 1.0, 0.0])
    for projections, sign in (([1, 1, -3], 1), ([-1, -1, 3], -1), ([1, -3], -1), ([-1, 3], 1)):
        found = principal_component(torch.tensor(projections).float().unsqueeze(1) * axis)
        assert float(found @ axis) * sign > 0, projections


def test_the_mean_norm_is_that_of_the_tokens_that_count(model: PreTrainedModel) -> None:
    found = made(reader(model, 1), POSITIVE[:2], NEGATIVE[:2])
    norms = [
        float(torch.tensor(pooled(model, Text([*text.ids[: at + 1]], [*[False] * at, True]), 1, "last")).norm())
        for text in (*POSITIVE[:2], *NEGATIVE[:2])
        for at, counts in enumerate(text.counts)
        if counts
    ]
    assert found.tokens == len(norms)
    assert found.residual_norm == pytest.approx(sum(norms) / len(norms), rel=1e-4)


def test_a_reading_that_was_stopped_ends_before_its_next_pass(model: PreTrainedModel) -> None:
    asked = iter([False, True, True])
    assert make_vector(reader(model, 1), POSITIVE, NEGATIVE, stop=lambda: next(asked)) is None


DEMO = Path(__file__).parent.parent / "demo" / "tiny" / "files"


def test_ten_pairs_of_sentences_point_where_the_demos_features_of_their_topic_do() -> None:
    demo = AutoModelForCausalLM.from_pretrained(DEMO / "model")
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    config = read_config(DEMO / "sae")
    rng = random.Random(0)

    def some(topics: Sequence[str]) -> list[Text]:
        ids = [tokenizer(sentence(rng.choice(topics), rng))["input_ids"] for _ in range(10)]
        return [Text(one, [token not in tokenizer.all_special_ids for token in one]) for one in ids]

    def directions() -> dict[str, torch.Tensor]:
        found = {}
        for topic in TOPICS:
            [document] = (DEMO / "profiles").glob(f"*{topic}*.json")
            strengths = json.loads(document.read_text())["profile"]["steering"]
            rows = torch.from_numpy(decoder_rows(config, [int(index) for index in strengths]))
            found[topic] = torch.tensor([*strengths.values()]) @ rows
        return found

    reader = ResidualReader(demo, config.hook_name, threading.Lock())
    for topic in TOPICS:
        others = sorted(TOPICS.keys() - {topic})
        for method in METHODS:
            vector = made(reader, some([topic]), some(others), method=method).vector
            cosines = {name: float(torch.cosine_similarity(vector, one, dim=0)) for name, one in directions().items()}
            assert max(cosines, key=lambda name: cosines[name]) == topic, (method, cosines)

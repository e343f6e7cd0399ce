"""Neuronpedia's files of features and activations: what is read, what is refused and in which row."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from steering.features.files import EXAMPLE_TOKENS, FeatureFile, InvalidFeatureFile
from steering.tests.feature_rows import ORIGIN, activation, as_lines, feature

D_SAE = 100


def read(*rows: Any) -> list[Any]:
    return list(FeatureFile(io.BytesIO(as_lines(rows))).features(D_SAE))


def facts(**changes: Any) -> tuple[Any, ...]:
    """Maximum, density, histogram, promoted, suppressed and nearest of a row of a feature."""
    [(_, maximum, density, *as_json, _, _, _)] = read(feature(7, **changes))
    return (maximum, density, *(None if one is None else json.loads(one) for one in as_json))


@pytest.mark.parametrize("form", [as_lines, lambda rows: json.dumps(rows, indent=1).encode()])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_features_are_read_as_array_and_as_lines_gzipped_or_not(
    form: Callable[[Any], bytes], pack: Callable[[bytes], bytes]
) -> None:
    file = FeatureFile(io.BytesIO(pack(form([feature("7"), activation(8, [0, 0]), activation(9, [0, 2.5])]))))
    rows = list(file.features(D_SAE))
    assert [row[0] for row in rows] == [7, 9]
    assert (file.rows, file.skipped) == (3, 1)


def test_a_feature_has_statistics_tokens_and_nearest_features() -> None:
    maximum, density, histogram, promoted, suppressed, nearest = facts()
    assert (maximum, density) == (12.5, 0.001)
    assert histogram == {"edges": [0.0, 2.0, 4.0, 6.0], "counts": [30, 5, 1]}
    assert promoted == [[" whale", 1.5], [" sea", 1.25]]
    assert suppressed == [[" the", -0.75], [" of", -0.5]]
    assert nearest == [[3, 0.5], [12, 0.25]]  # the feature itself is left out


def test_facts_that_a_row_does_not_have_are_not_known() -> None:
    empty = ("pos_str", "pos_values", "neg_str", "neg_values", "topkCosSimIndices", "topkCosSimValues")
    bars = ("freq_hist_data_bar_heights", "freq_hist_data_bar_values")
    nothing: dict[str, Any] = {name: [] for name in empty} | dict.fromkeys(bars)
    assert facts(maxActApprox=None, frac_nonzero=0, **nothing) == (None, 0.0, None, None, None, None)


def test_the_bars_of_equal_activations_are_one() -> None:
    bars = {"freq_hist_data_bar_values": [2.5, 2.5], "freq_hist_data_bar_heights": [3, 1]}
    assert facts(**bars)[2] == {"edges": [0.0, 5.0], "counts": [4]}


def test_an_example_has_its_tokens_values_and_maximum() -> None:
    [row] = read(activation(7, [0, 1.5, 0.25], tokens=["a", "\0b", "\ud800c"]))
    assert row[-3:] == (["a", "\ufffdb", "\ufffdc"], [0, 1.5, 0.25], 1.5)


@pytest.mark.parametrize(
    ("strongest", "first"), [(0, 0), (500, 500 - EXAMPLE_TOKENS // 2), (999, 1000 - EXAMPLE_TOKENS)]
)
def test_of_a_long_example_the_tokens_around_the_strongest_are_kept(strongest: int, first: int) -> None:
    values = [float(position == strongest) for position in range(1000)]
    [row] = read(activation(7, values, tokens=[str(position) for position in range(1000)]))
    assert row[-3] == [str(position) for position in range(first, first + EXAMPLE_TOKENS)]
    assert row[-2][row[-3].index(str(strongest))] == 1.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (feature(100), "row 2: feature 100 is out of range: the SAE has 100 features"),
        (feature("x"), "row 2: got index 'x'"),
        (feature(1, maxActApprox="much"), "row 2: got 'much' in maxActApprox, expected a finite number"),
        (feature(1, maxActApprox=10**400), "row 2: got 1000.* in maxActApprox, expected a finite number"),
        (feature(1, frac_nonzero=1.5), "row 2: got 1.5 for frac_nonzero, expected a share from 0 to 1"),
        (feature(1, pos_values=[1]), "row 2: got 2 pos_str and 1 pos_values"),
        (feature(1, neg_str="the"), "row 2: got 'the' for neg_str, expected a list"),
        (feature(1, topkCosSimIndices=[7, 3, 100]), "row 2: feature 100 is out of range"),
        (feature(1, freq_hist_data_bar_values=[3, 2, 1]), "row 2: freq_hist_data_bar_values do not rise"),
        (activation(1, [1.0], tokens=["a", "b"]), "row 2: got 2 tokens and 1 values"),
        (activation(1, [1.0], tokens=[5]), "row 2: got 5 in tokens, expected texts of tokens"),
        (activation(1, [float("nan")]), "row 2: got nan in values, expected a finite number"),
        (
            {**ORIGIN, "index": 1, "description": "whales"},
            "row 2: this row has none of .*; labels are imported as labels",
        ),
        (feature(1, modelId="other"), r"row 2: this row is of \('other', '20-res'\)"),
        ([1], "row 2: got a list, expected an object"),
    ],
)
def test_a_bad_row_is_reported_by_its_number(row: Any, message: str) -> None:
    with pytest.raises(InvalidFeatureFile, match=message) as caught:
        read(feature(0), row)
    assert caught.value.details == {"row": 2}


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidFeatureFile, match=r"file, row 1: this is not JSON: expected Neuronpedia's features"):
        list(FeatureFile(io.BytesIO(b"index,label\n1,whales\n")).features(D_SAE))


def test_memory_does_not_grow_with_the_file() -> None:
    row = as_lines([activation(7, [0.5] * 500)])
    file = FeatureFile(io.BytesIO(gzip.compress(row * 2000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in file.features(D_SAE)) == 2000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(row) * 100

"""Neuronpedia's files of features (https://docs.neuronpedia.org/api-and-data/exports).

Two kinds of rows are recognised by their content, as JSON lines (`batch-N.jsonl.gz`) or as a JSON array:

- of `features/`: objects with `index`, `maxActApprox`, `frac_nonzero`, `pos_str`, `pos_values`, `neg_str`,
  `neg_values`, `topkCosSimIndices`, `topkCosSimValues`, `freq_hist_data_bar_heights`, `freq_hist_data_bar_values`,
- of `activations/`: objects with `index`, `tokens`, `values` and more.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from steering.imports.rows import InvalidFile, RowFile, feature_index

EXPECTED = "Neuronpedia's features or activations as a JSON array or JSON lines"
EXAMPLE_TOKENS = 128
"""An example is at most this long: the tokens around the strongest one."""
KNOWN = ("maxActApprox", "frac_nonzero", "pos_str", "neg_str", "topkCosSimIndices", "freq_hist_data_bar_heights")
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

FeatureRow = tuple[Any, ...]
"""Index, maximum, density, then histogram, promoted, suppressed and nearest as JSON, then tokens, values and maximum of
an example. Facts that a row does not have are None."""


class InvalidFeatureFile(InvalidFile):
    """Error: a file of features cannot be read."""

    code = "invalid_feature_file"


@dataclass
class FeatureFile(RowFile):
    """An open file of features, of activations, or of both.

    After the rows were read, `skipped` is the number of examples in which the feature does not fire.
    """

    expected = EXPECTED
    invalid = InvalidFeatureFile
    skipped: int = field(default=0, init=False)

    def features(self, d_sae: int) -> Iterator[FeatureRow]:
        """Yield each row while the file is read, for an SAE of `d_sae` features.

        Raises InvalidFeatureFile, which names the row.
        """
        for row in self.read(lambda row: self._row(row, d_sae)):
            if row is None:
                self.skipped += 1
            else:
                yield row

    def _row(self, row: Mapping[str, Any], d_sae: int) -> FeatureRow | None:
        index = feature_index(row.get("index"), d_sae)
        if "tokens" in row:
            example = _example(row)
            return example and (index, *[None] * 6, *example)
        if not any(name in row for name in KNOWN):
            hint = "; labels are imported as labels" if "description" in row else ""
            raise InvalidFile(f"this row has none of {', '.join(KNOWN)}, tokens: expected {EXPECTED}{hint}")
        facts = (
            _histogram(row),
            _tokens(row, "pos_str", "pos_values", sign=-1),
            _tokens(row, "neg_str", "neg_values", sign=1),
            _nearest(row, index, d_sae),
        )
        as_json = (None if fact is None else json.dumps(fact) for fact in facts)
        return (index, _maximum(row), _share(row), *as_json, None, None, None)


def _maximum(row: Mapping[str, Any]) -> float | None:
    return None if row.get("maxActApprox") is None else _number(row["maxActApprox"], "maxActApprox")


def _share(row: Mapping[str, Any]) -> float | None:
    if row.get("frac_nonzero") is None:
        return None
    share = _number(row["frac_nonzero"], "frac_nonzero")
    if not 0 <= share <= 1:
        raise InvalidFile(f"got {share} for frac_nonzero, expected a share from 0 to 1")
    return share


def _histogram(row: Mapping[str, Any]) -> dict[str, list[float]] | None:
    """Edges and counts. Neuronpedia has the middle of each bar."""
    names = "freq_hist_data_bar_values", "freq_hist_data_bar_heights"
    middles, counts = _numbers(row, names[0]), [_whole(count) for count in _numbers(row, names[1])]
    _check_lengths(names, middles, counts)
    if not middles:
        return None
    if middles[0] == middles[-1]:  # all activations are equal
        return {"edges": [0.0, 2 * middles[0]], "counts": [sum(counts)]} if middles[0] > 0 else None
    if any(after <= before for before, after in pairwise(middles)):
        raise InvalidFile("freq_hist_data_bar_values do not rise: expected the middle of each bar, the smallest first")
    inner = [(before + after) / 2 for before, after in pairwise(middles)]
    first = max(0.0, 2 * middles[0] - inner[0])
    return {"edges": [first, *inner, 2 * middles[-1] - inner[-1]], "counts": counts}


def _tokens(row: Mapping[str, Any], texts: str, values: str, *, sign: int) -> list[tuple[str, float]] | None:
    """Tokens with their logits, in order of `sign` × logit."""
    tokens, logits = _texts(row, texts), _numbers(row, values)
    _check_lengths((texts, values), tokens, logits)
    return sorted(zip(tokens, logits, strict=True), key=lambda pair: sign * pair[1]) or None


def _nearest(row: Mapping[str, Any], index: int, d_sae: int) -> list[tuple[int, float]] | None:
    names = "topkCosSimIndices", "topkCosSimValues"
    features, cosines = [feature_index(one, d_sae) for one in _list(row, names[0])], _numbers(row, names[1])
    _check_lengths(names, features, cosines)
    others = [pair for pair in zip(features, cosines, strict=True) if pair[0] != index]
    return sorted(others, key=lambda pair: -pair[1]) or None


def _example(row: Mapping[str, Any]) -> tuple[list[str], list[float], float] | None:
    """Tokens, values and their maximum; None if the feature does not fire."""
    tokens, values = _texts(row, "tokens"), _numbers(row, "values")
    _check_lengths(("tokens", "values"), tokens, values)
    if not values or (maximum := max(values)) <= 0:
        return None
    strongest = values.index(maximum)
    start = max(0, min(strongest - EXAMPLE_TOKENS // 2, len(tokens) - EXAMPLE_TOKENS))
    return tokens[start : start + EXAMPLE_TOKENS], values[start : start + EXAMPLE_TOKENS], maximum


def _list(row: Mapping[str, Any], name: str) -> list[Any]:
    given = row.get(name)
    if not isinstance(given, list | None):
        raise InvalidFile(f"got {given!r:.100} for {name}, expected a list")
    return given or []


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    for given in (texts := _list(row, name)):
        if not isinstance(given, str):
            raise InvalidFile(f"got {given!r:.100} in {name}, expected texts of tokens")
    return [storable(text) for text in texts]


def storable(token: str) -> str:
    """`token` without characters that PostgreSQL cannot store."""
    return UNSTORABLE.sub("\ufffd", token)


def _numbers(row: Mapping[str, Any], name: str) -> list[float]:
    return [_number(given, name) for given in _list(row, name)]


def _number(given: Any, name: str) -> float:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or abs(given) > sys.float_info.max or math.isnan(given):
        raise InvalidFile(f"got {given!r:.100} in {name}, expected a finite number")
    return float(given)


def _whole(count: float) -> float:
    return int(count) if count.is_integer() else count


def _check_lengths(names: tuple[str, str], *lists: Sequence[Any]) -> None:
    first, second = (len(one) for one in lists)
    if first != second:
        raise InvalidFile(f"got {first} {names[0]} and {second} {names[1]}: expected as many of both")

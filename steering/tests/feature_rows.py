"""Rows as Neuronpedia exports them."""

import json
from collections.abc import Iterable
from typing import Any

ORIGIN = {"modelId": "gemma-2-2b", "layer": "20-res"}


def feature(index: Any, **changes: Any) -> dict[str, Any]:
    """A row of a file of `features/`."""
    return {
        **ORIGIN,
        "index": index,
        "maxActApprox": 12.5,
        "hasVector": False,
        "vector": [],
        "hookName": None,
        "frac_nonzero": 0.001,
        "freq_hist_data_bar_heights": [30, 5, 1],
        "freq_hist_data_bar_values": [1.0, 3.0, 5.0],
        "pos_str": [" sea", " whale"],
        "pos_values": [1.25, 1.5],
        "neg_str": [" the", " of"],
        "neg_values": [-0.75, -0.5],
        "topkCosSimIndices": [7, 3, 12],
        "topkCosSimValues": [1.0, 0.5, 0.25],
        **changes,
    }


def activation(index: Any, values: list[Any], **changes: Any) -> dict[str, Any]:
    """A row of a file of `activations/`."""
    strongest = max(range(len(values)), key=values.__getitem__)
    return {
        **ORIGIN,
        "id": f"c{index}",
        "index": str(index),
        "tokens": [f" t{position}" for position in range(len(values))],
        "values": values,
        "maxValue": values[strongest],
        "maxValueTokenIndex": strongest,
        "dataIndex": None,
        **changes,
    }


def as_lines(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()

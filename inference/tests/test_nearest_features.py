"""The nearest decoder directions by cosine, beside a naive reckoning of the same."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from inference.engine.reading.nearest_features import nearest_features
from inference.tests.tiny import D_SAE, tiny_sae
from steering.formats import read_config


def test_the_nearest_features_are_those_with_the_largest_cosine(tmp_path: Path) -> None:
    folder = tiny_sae(tmp_path)
    weights = load_file(folder / "sae_weights.safetensors")
    weights["W_dec"] *= np.linspace(0.1, 9, D_SAE, dtype=np.float32)[:, None]  # the lengths must not matter
    save_file(weights, folder / "sae_weights.safetensors")
    rows = weights["W_dec"]
    cosines = {
        index: float(rows[7] @ row / np.linalg.norm(rows[7]) / np.linalg.norm(row))
        for index, row in enumerate(rows)
        if index != 7
    }
    expected = sorted(cosines, key=lambda index: -cosines[index])[:5]
    found = nearest_features(read_config(folder), 7, top=5)
    assert [index for index, _ in found] == expected
    assert [cosine for _, cosine in found] == pytest.approx([cosines[index] for index in expected], abs=1e-5)


def test_a_feature_without_a_direction_is_near_to_nothing(tmp_path: Path) -> None:
    folder = tiny_sae(tmp_path)
    weights = load_file(folder / "sae_weights.safetensors")
    weights["W_dec"][3] = 0
    save_file(weights, folder / "sae_weights.safetensors")
    assert all(cosine == 0 for _, cosine in nearest_features(read_config(folder), 3, top=5))
    assert dict(nearest_features(read_config(folder), 7, top=D_SAE))[3] == 0

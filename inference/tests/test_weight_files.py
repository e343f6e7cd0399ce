"""The index of a model in several files names files of its own folder only."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.weights import BrokenWeights, stored_weights, weight_files


def index(folder: Path, document: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "/x.safetensors",
        "../x.safetensors",
        "a/x.safetensors",
        "a\\x.safetensors",
        "x.bin",
        "",
        5,
        None,
        ["x"],
    ],
)
def test_a_file_elsewhere_is_refused(tmp_path: Path, name: Any) -> None:
    index(tmp_path, {"weight_map": {"a": "model-1.safetensors", "b": name}})
    with pytest.raises(BrokenWeights, match="names the file"):
        weight_files(tmp_path)
    with pytest.raises(BrokenWeights):
        stored_weights(tmp_path)  # before anything is loaded


@pytest.mark.parametrize("document", [{}, {"weight_map": None}, {"weight_map": ["x.safetensors"]}, []])
def test_what_is_no_index_is_refused(tmp_path: Path, document: Any) -> None:
    index(tmp_path, document)
    with pytest.raises(BrokenWeights):
        weight_files(tmp_path)


def test_each_file_counts_once(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index(tmp_path, {"metadata": {}, "weight_map": {"a": names[1], "b": names[0], "c": names[1]}})
    for name in names:
        (tmp_path / name).touch()
    assert weight_files(tmp_path) == [tmp_path / name for name in names]

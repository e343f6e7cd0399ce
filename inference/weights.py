"""The files of a model's weights on this machine, and their headers. Imports neither torch nor Django."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from steering.errors import Refused
from steering.json_files import UnreadableJSON, read_json

FILE_NAME = re.compile(r"[\w.-]+\.safetensors\Z")  # no folder: transformers opens every path that the index names
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")  # of Llama and most others, GPT-2, GPT-NeoX


class BrokenWeights(Refused):
    """Files of weights that are missing or cut short, or do not fit the `config.json` beside them."""

    code = "broken_weights"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="source")


@dataclass(frozen=True)
class StoredWeight:
    """A tensor by the header of its file; `dtype` is safetensors' name, such as `BF16`."""

    shape: tuple[int, ...]
    dtype: str
    file: str

    @property
    def size(self) -> int:
        return prod(self.shape)


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads: `model.safetensors`, else those of the index.

    A repository can have the same weights beside them in another form. Raises BrokenWeights where a file is missing.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        raise BrokenWeights(f"{folder} has neither {SINGLE} nor {INDEX}: other files of weights are not read")
    names = sorted(set(_weight_map(folder).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BrokenWeights(
            f"{folder} lacks {len(missing)} of the {len(names)} files that {INDEX} names, {missing[0]} among them:"
            " fetch them"
        )
    return [folder / name for name in names]


def named_files(index: Mapping[str, Any]) -> list[str]:
    """The files that an index names. Raises BrokenWeights where a name is not that of a file beside the index."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BrokenWeights(f"{INDEX} has no weight_map: expected an object of tensors and their files")
    for name in weight_map.values():
        if not isinstance(name, str) or not FILE_NAME.match(name):
            raise BrokenWeights(
                f"{INDEX} names the file {name!r:.200}: expected a *.safetensors file in the same folder"
            )
    return sorted(set(weight_map.values()))


def stored_weights(folder: Path) -> dict[str, StoredWeight]:
    """Every tensor of the weights by name, from the headers alone.

    Raises BrokenWeights where a file is missing, malformed, or does not have the length of its header, and where the
    files lack a tensor of the index.
    """
    found: dict[str, StoredWeight] = {}
    for path in weight_files(folder):
        found |= _header(path)
    if not found:
        raise BrokenWeights(f"{folder} has no weights in its *.safetensors")
    if not (folder / SINGLE).is_file():
        for name, file in _weight_map(folder).items():
            if name not in found or found[name].file != file:
                raise BrokenWeights(f"{file} lacks {name}, which {INDEX} names: fetch the files again")
    return found


def check_weights(folder: Path, vocab_size: Any, d_model: int) -> None:
    """Refuse files that are not whole, or whose embedding does not fit `config.json`. Raises BrokenWeights.

    A worker compares the other shapes.
    """
    for name, weight in stored_weights(folder).items():
        if name.endswith(EMBEDDINGS) and weight.shape != (vocab_size, d_model):
            raise BrokenWeights(shape_message(name, weight.shape, (vocab_size, d_model)))


def shape_message(name: str, found: Any, expected: Any) -> str:
    """The error message for a tensor whose shape does not fit the configuration."""
    found, expected = (" x ".join(map(str, shape)) for shape in (found, expected))
    return f"{name} is {found} in the files: expected {expected}, as config.json says. They are not of one model"


def _weight_map(folder: Path) -> dict[str, str]:
    try:
        index = read_json(folder / INDEX)
    except UnreadableJSON as error:
        raise BrokenWeights(str(error)) from error
    named_files(index)
    return dict(index["weight_map"])


def _header(path: Path) -> dict[str, StoredWeight]:
    found = {}
    try:
        # As numpy's, so that torch is not imported. No tensor is read; safetensors compares offsets and length.
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                entry = file.get_slice(name)
                found[name] = StoredWeight(tuple(entry.get_shape()), entry.get_dtype(), path.name)
    except (SafetensorError, OSError, ValueError) as error:
        raise BrokenWeights(
            f"{path.name} cannot be read as safetensors, or is cut short ({error}): fetch it again"
        ) from error
    return found


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

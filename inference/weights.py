"""The files of a model's weights on this machine, and what their headers say. Free of torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from steering.errors import Refused
from steering.hub.sources import BadSource, is_folder, read_json_file

FILE_NAME = re.compile(r"[\w.-]+\.safetensors\Z")  # no folder: transformers opens whatever the index names
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")  # of Llama and most others, GPT-2, GPT-NeoX

if TYPE_CHECKING:
    from inference.models import LanguageModel


class BrokenWeights(Refused):
    """Files of weights that are missing, cut short, or not of the model that `config.json` describes."""

    code = "broken_weights"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="source")


@dataclass(frozen=True)
class StoredWeight:
    """A tensor of a file, as the file's header says; `dtype` is safetensors' word, `BF16`."""

    shape: tuple[int, ...]
    dtype: str
    file: str

    @property
    def size(self) -> int:
        return prod(self.shape)


def weights_size(model: "LanguageModel") -> int | None:
    """The bytes of the weights; None where they are not on this machine, or not whole."""
    folder = model_folder(model)
    if folder is None:
        return None
    try:
        return sum(path.stat().st_size for path in weight_files(folder))
    except Refused:
        return None


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads: `model.safetensors`, else those of the index.

    A repository can have the same weights in another form beside them. Raises BrokenWeights where one is missing.
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
    """The files that an index names. Raises BrokenWeights where they are not names of files beside it."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BrokenWeights(f"{INDEX} has no weight_map: expected an object of tensors and their files")
    for name in weight_map.values():
        if not isinstance(name, str) or not FILE_NAME.match(name):
            raise BrokenWeights(f"{INDEX} names the file {name!r:.200}: expected a *.safetensors beside it")
    return sorted(set(weight_map.values()))


def stored_weights(folder: Path) -> dict[str, StoredWeight]:
    """Every tensor of the weights by name, from the headers alone.

    Raises BrokenWeights where a file is missing, malformed or of another length than its header says, and where the
    index names tensors that are not there.
    """
    found: dict[str, StoredWeight] = {}
    for path in weight_files(folder):
        found |= _header(path)
    if not found:
        raise BrokenWeights(f"{folder} has no weights in its *.safetensors")
    if not (folder / SINGLE).is_file():
        for name, file in _weight_map(folder).items():
            if name not in found or found[name].file != file:
                raise BrokenWeights(f"{INDEX} says that {name} is in {file}, where it is not: fetch the files again")
    return found


def check_weights(folder: Path, vocab_size: Any, d_model: int) -> None:
    """That the files are whole, and the embedding as `config.json` says; a worker compares the other shapes.

    Raises BrokenWeights.
    """
    for name, weight in stored_weights(folder).items():
        if name.endswith(EMBEDDINGS) and weight.shape != (vocab_size, d_model):
            raise BrokenWeights(shape_told(name, weight.shape, (vocab_size, d_model)))


def shape_told(name: str, found: Any, expected: Any) -> str:
    """What is said of a tensor that has another shape than the configuration makes of it."""
    found, expected = (" x ".join(map(str, shape)) for shape in (found, expected))
    return f"{name} is {found} in the files: expected {expected}, as config.json says. They are not of one model"


def _weight_map(folder: Path) -> dict[str, str]:
    try:
        index = read_json_file(folder / INDEX)
    except BadSource as error:
        raise BrokenWeights(str(error).removeprefix("source: ")) from error
    named_files(index)
    return dict(index["weight_map"])


def _header(path: Path) -> dict[str, StoredWeight]:
    found = {}
    try:
        # As numpy's, so that nobody imports torch; no tensor is read. safetensors compares offsets and length.
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                entry = file.get_slice(name)
                found[name] = StoredWeight(tuple(entry.get_shape()), entry.get_dtype(), path.name)
    except (SafetensorError, OSError, ValueError) as error:
        raise BrokenWeights(
            f"{path.name} cannot be read as safetensors, or is cut short ({error}): fetch it again"
        ) from error
    return found


def model_folder(model: "LanguageModel") -> Path | None:
    """Where the model's files lie on this machine; None where they are not here, or not all of them."""
    if is_folder(model.source):
        folder = Path(model.source).expanduser()
        return folder if folder.is_dir() else None
    from steering.hub import client as hub

    cached = hub.is_cached(model.source, model.revision or "main", hub.CONFIG_FILES)
    return cached if cached is not None and _has_weights(cached) else None


def _has_weights(folder: Path) -> bool:
    try:
        return bool(weight_files(folder))
    except BrokenWeights:  # an index of which not all is here yet
        return False


def remote_files(source: str, revision: str) -> list[str]:
    """What is fetched of a repository: the weights that transformers loads, once, and all that is small.

    Raises BrokenWeights where there are none, or what `steering.hub.client` raises.
    """
    from steering.hub import client as hub

    present = hub.file_sizes(source, revision)
    if SINGLE in present:
        return [SINGLE, *hub.CONFIG_FILES]
    if INDEX not in present:
        raise BrokenWeights(f"{source} has neither {SINGLE} nor {INDEX}: other files of weights are not read")
    names = named_files(hub.read_json(source, INDEX, revision))
    if missing := [name for name in names if name not in present]:
        raise BrokenWeights(f"{source} lacks {missing[0]}, which {INDEX} names")
    return [*names, *hub.CONFIG_FILES]


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

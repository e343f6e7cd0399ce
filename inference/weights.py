"""The files of a model's weights on this machine. Free of torch."""

import re
from pathlib import Path

from inference.models import LanguageModel
from steering.sources import BadSource, is_folder, read_json_file

FILE_NAME = re.compile(r"[\w.-]+\.safetensors\Z")  # no folder: transformers opens whatever the index names


def weights_size(model: LanguageModel) -> int | None:
    """The bytes of the weights; None where they are not on this machine."""
    folder = _folder(model)
    if folder is None or not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in weight_files(folder) if path.is_file()) or None


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads; a repository can have the same weights in another form beside them.

    Raises BadSource where the index of a model in several files is not one, or names files elsewhere.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        return [folder / name for name in _indexed(index)]
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def _indexed(index: Path) -> list[str]:
    named = read_json_file(index).get("weight_map")
    if not isinstance(named, dict):
        raise BadSource(f"source: {index.name} has no weight_map: fetch it again")
    for name in named.values():
        if not isinstance(name, str) or not FILE_NAME.match(name):
            told = f"source: {index.name} names the file {name!r:.100}, expected one in the same folder"
            raise BadSource(f"{told}, like model-00001-of-00002.safetensors")
    return sorted(set(named.values()))


def _folder(model: LanguageModel) -> Path | None:
    if is_folder(model.source):
        return Path(model.source).expanduser()
    from steering import hub

    return hub.is_cached(model.source, model.revision or "main", hub.MODEL_FILES)


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

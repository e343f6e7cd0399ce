"""The files of a model's weights on this machine. Free of torch."""

from pathlib import Path

from inference.models import LanguageModel
from steering.sources import is_folder, read_json_file


def weights_size(model: LanguageModel) -> int | None:
    """The bytes of the weights; None where they are not on this machine."""
    folder = _folder(model)
    if folder is None or not folder.is_dir():
        return None
    return sum(path.stat().st_size for path in weight_files(folder) if path.is_file()) or None


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads; a repository can have the same weights in another form beside them."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        return [folder / name for name in sorted(set(read_json_file(index).get("weight_map", {}).values()))]
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def _folder(model: LanguageModel) -> Path | None:
    if is_folder(model.source):
        return Path(model.source).expanduser()
    from steering import hub

    return hub.is_cached(model.source, model.revision or "main", hub.MODEL_FILES)


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

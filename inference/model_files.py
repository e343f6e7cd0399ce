"""The files of a model, on this machine or on the client."""

from pathlib import Path
from typing import TYPE_CHECKING

from inference.weights import INDEX, SINGLE, BrokenWeights, named_files, weight_files
from steering.errors import Refused
from steering.hub.sources import is_folder

if TYPE_CHECKING:
    from inference.models import LanguageModel


def model_folder(model: "LanguageModel") -> Path | None:
    """The folder of the model's files on this machine; None where a file is missing."""
    if is_folder(model.source):
        folder = Path(model.source).expanduser()
        return folder if folder.is_dir() else None
    from steering.hub import client

    cached = client.is_cached(model.source, model.revision or "main", client.CONFIG_FILES)
    return cached if cached is not None and _has_weights(cached) else None


def _has_weights(folder: Path) -> bool:
    try:
        return bool(weight_files(folder))
    except BrokenWeights:  # an index whose files are not all here yet
        return False


def remote_files(source: str, revision: str) -> list[str]:
    """The files to download of a repository: the weights that transformers loads, in one form, and all small files.

    Raises BrokenWeights where the repository has no such weights, or what `steering.hub.client` raises.
    """
    from steering.hub import client

    present = client.file_sizes(source, revision)
    if SINGLE in present:
        return [SINGLE, *client.CONFIG_FILES]
    if INDEX not in present:
        raise BrokenWeights(f"{source} has neither {SINGLE} nor {INDEX}: other files of weights are not read")
    names = named_files(client.read_json(source, INDEX, revision))
    if missing := [name for name in names if name not in present]:
        raise BrokenWeights(f"{source} lacks {missing[0]}, which {INDEX} names")
    return [*names, *client.CONFIG_FILES]


def weights_size(model: "LanguageModel") -> int | None:
    """The bytes of the weights; None where a file of them is not on this machine."""
    folder = model_folder(model)
    if folder is None:
        return None
    try:
        return sum(path.stat().st_size for path in weight_files(folder))
    except Refused:
        return None

"""Where a model's files are: on this machine, or on the hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from inference.weights import INDEX, SINGLE, BrokenWeights, named_files, weight_files
from steering.errors import SteeringError
from steering.hub.sources import is_folder

if TYPE_CHECKING:
    from inference.models import LanguageModel


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


def weights_size(model: "LanguageModel") -> int | None:
    """The bytes of the weights; None where they are not on this machine, or not whole."""
    folder = model_folder(model)
    if folder is None:
        return None
    try:
        return sum(path.stat().st_size for path in weight_files(folder))
    except SteeringError:
        return None

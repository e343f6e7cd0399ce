"""A model's files on this machine: where they lie, downloaded first where they come from the hub."""

from collections.abc import Callable
from pathlib import Path

from inference.models import LanguageModel
from steering import hub
from steering.hub_errors import DownloadCancelled
from steering.sources import is_folder


class Unwanted(Exception):
    """Nobody wants the model any more: its download or load ends."""


def fetch(model: LanguageModel, is_wanted: Callable[[], bool], tell: Callable[[float], None]) -> Path:
    """The folder with the model's files; `tell` hears the progress of a download. Raises Unwanted or SteeringError."""
    if is_folder(model.source):
        return Path(model.source).expanduser()
    revision = model.revision or "main"
    cached = hub.is_cached(model.source, revision, hub.MODEL_FILES)
    if cached is not None:
        return cached
    tell(0.0)
    try:
        return hub.download(
            model.source,
            revision,
            hub.MODEL_FILES,
            progress=lambda done, total: tell(done / max(total, 1)),
            cancelled=lambda: not is_wanted(),
        )
    except DownloadCancelled as error:
        raise Unwanted(str(error)) from error

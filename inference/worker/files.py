"""A model's files on this machine: where they lie, downloaded first where they come from the hub."""

from collections.abc import Callable, Sequence
from pathlib import Path

from inference.models import LanguageModel
from inference.weights import model_folder, remote_files
from steering.hub import client as hub
from steering.hub.errors import DownloadCancelled, HubUnreachable
from steering.hub.sources import is_folder


class Unwanted(Exception):
    """Nobody wants the model any more: its download or load ends."""


def fetch(model: LanguageModel, is_wanted: Callable[[], bool], tell: Callable[[float], None]) -> Path:
    """The folder with the model's files; `tell` hears the progress of a download. Raises Unwanted or Refused."""
    if is_folder(model.source):
        return Path(model.source).expanduser()
    cached = model_folder(model)
    if cached is not None:
        return cached
    revision = model.revision or "main"
    tell(0.0)
    try:
        return hub.download(
            model.source,
            revision,
            _files(model.source, revision),
            progress=lambda done, total: tell(done / max(total, 1)),
            cancelled=lambda: not is_wanted(),
        )
    except DownloadCancelled as error:
        raise Unwanted(str(error)) from error


def _files(source: str, revision: str) -> Sequence[str]:
    try:
        return remote_files(source, revision)
    except HubUnreachable:
        return hub.MODEL_FILES  # they may be in the cache, where another program left them without a listing

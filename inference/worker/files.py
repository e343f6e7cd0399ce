"""The files of a model on this machine, downloaded first where they come from the hub."""

from collections.abc import Callable, Sequence
from pathlib import Path

from inference.model_files import model_folder, remote_files
from inference.models import LanguageModel
from steering.hub import client
from steering.hub.errors import DownloadCancelled, HubUnreachable
from steering.hub.sources import is_folder


class Unwanted(Exception):
    """Raised in a download or load when the rows no longer want the model."""


def fetch(model: LanguageModel, is_wanted: Callable[[], bool], report: Callable[[float], None]) -> Path:
    """The folder with the model's files; `report` gets the progress of a download, 0 to 1.

    Raises Unwanted or Refused.
    """
    if is_folder(model.source):
        return Path(model.source).expanduser()
    cached = model_folder(model)
    if cached is not None:
        return cached
    revision = model.revision or "main"
    report(0.0)
    try:
        return client.download(
            model.source,
            revision,
            _files(model.source, revision),
            progress=lambda done, total: report(done / max(total, 1)),
            cancelled=lambda: not is_wanted(),
        )
    except DownloadCancelled as error:
        raise Unwanted(str(error)) from error


def _files(source: str, revision: str) -> Sequence[str]:
    try:
        return remote_files(source, revision)
    except HubUnreachable:
        return client.MODEL_FILES  # another program may have left them in the cache, without a listing

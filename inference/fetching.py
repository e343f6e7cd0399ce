"""A model's files on this machine: where they lie, downloaded first where they come from the hub."""

from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings
from django.db.models import Q, QuerySet

from inference.models import LanguageModel
from inference.weights import model_folder, remote_files
from steering import hub
from steering.hub_errors import DownloadCancelled, HubUnreachable
from steering.sources import is_folder

UPDATE_S = 0.5


class Unwanted(Exception):
    """Nobody wants the model any more: its download or load ends."""


def told_rows(model: LanguageModel) -> "QuerySet[LanguageModel]":
    """The model's row, while this worker is one that should serve it: only then it says how far that is."""
    mine = Q(is_current=True) | Q(name=settings.INFERENCE_MODEL)
    return LanguageModel.objects.filter(mine, pk=model.pk)


def fetch(model: LanguageModel, is_wanted: Callable[[], bool]) -> Path:
    """The folder with the model's files; the row tells the progress of a download. Raises Unwanted or SteeringError."""
    if is_folder(model.source):
        return Path(model.source).expanduser()
    cached = model_folder(model)
    if cached is not None:
        return cached
    revision = model.revision or "main"
    rows = told_rows(model)
    rows.update(status=LanguageModel.Status.DOWNLOADING, progress=0.0, error="")

    def tell(done: int, total: int) -> None:
        rows.update(progress=done / max(total, 1))

    try:
        return hub.download(
            model.source,
            revision,
            _files(model.source, revision),
            progress=tell,
            cancelled=lambda: not is_wanted(),
        )
    except DownloadCancelled as error:
        raise Unwanted(str(error)) from error


def _files(source: str, revision: str) -> Sequence[str]:
    try:
        return remote_files(source, revision)
    except HubUnreachable:
        return hub.MODEL_FILES  # they may be in the cache, where another program left them without a listing

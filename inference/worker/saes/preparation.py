"""The preparation of an SAE or a vector set by a worker: download and fingerprint, with the progress in its row."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from django.db import connection
from django.db.models import QuerySet

from inference.engine.saes.fingerprint import decoder_fingerprint
from inference.worker.leases.lease import Lease
from steering.errors import Refused
from steering.formats import SAEConfig, read_config
from steering.formats.control_vector import SUFFIX
from steering.hub import client
from steering.hub.errors import DownloadCancelled
from steering.hub.sources import is_folder
from steering.saes import SAE
from steering.spec import SAEPlace

logger = logging.getLogger(__name__)

UPDATE_S = 0.5
ONGOING = [SAE.Status.DOWNLOADING, SAE.Status.READY]
# A pickle must be asked for by its name; it is read with weights_only=True.
FILES = (
    *("*.safetensors", "*.json", "*.npz", "*.gguf", "ae.pt"),
    *("checkpoints/pruned.safetensors", "checkpoints/final.safetensors"),
)


class Interrupted(Exception):
    """The worker stops, or another worker holds the SAE."""


def prepare_next(is_stopping: Callable[[], bool]) -> bool:
    """Prepare the SAE that has waited longest. Returns False where no SAE waited."""
    lease = Lease.take(SAE.objects.all(), is_stopping)
    if lease is None:
        return False
    with lease:
        prepare(lease.row, lease.is_over)
    return True


def prepare(sae: SAE, is_over: Callable[[], bool] = lambda: False) -> None:
    """Download what is missing, read the configuration, compute the fingerprint; writes an error to the row.

    Ends early when `is_over()` is true; the next preparation continues the download.
    """
    rows = SAE.objects.filter(pk=sae.pk)
    try:
        config = read_config(fetch(sae, is_over), path=f"{sae.source}/{sae.path}")
        if not sae.is_in_use:  # an attached SAE was checked when it was attached
            sae.take(config)
            sae.save(update_fields=[*SAE.FROM_FILES, "status", "error", "revision"])
            sae.take_labels(config)
        if not sae.is_in_use or not sae.fingerprint:
            rows.update(fingerprint=decoder_fingerprint(config, _Progress(rows, is_over)), progress=1.0)
    except (DownloadCancelled, Interrupted):
        logger.info("the preparation of %s ends early", sae)
    except (Refused, OSError) as error:
        logger.warning("%s cannot be used: %s", sae, error)
        rows.update(status=SAE.Status.ERROR, error=str(error), progress=None)
    except Exception as error:
        connection.close()  # the connection itself may be broken
        rows.update(status=SAE.Status.ERROR, error=f"{type(error).__name__}: {error}", progress=None)
        raise
    finally:
        connection.close()


def config_at(place: SAEPlace) -> SAEConfig:
    """The configuration of the SAE at `place`, downloaded first where this machine lacks its files; asks no database.

    Raises UnreadableSAE, or what a download raises.
    """
    if is_folder(place.source):
        folder = Path(place.source).expanduser() / place.path
    else:
        folder = (_cached(place) or _download(place, lambda _done, _total: None, lambda: False)) / place.path
    return read_config(folder, path=f"{place.source}/{place.path}")


def fetch(sae: SAE, is_over: Callable[[], bool] = lambda: False) -> Path:
    """The SAE's folder, or its file, on this machine, downloaded where it is not here; the row tells the progress."""
    place = sae.place
    if is_folder(place.source):
        return Path(place.source).expanduser() / place.path
    snapshot = _cached(place)
    if snapshot is None:
        rows = SAE.objects.filter(pk=sae.pk)
        if not sae.hook_name:
            begins = [SAE.Status.QUEUED, SAE.Status.DOWNLOADING]  # another worker may have begun the download
            rows.filter(status__in=begins).update(status=SAE.Status.DOWNLOADING, progress=0.0, error="")
        snapshot = _download(
            place,
            progress=partial(_report, rows),
            cancelled=lambda: is_over() or not rows.filter(status__in=ONGOING).exists(),
        )
    # From now on this commit: another download of the repository may move what its branch means here.
    sae.revision = snapshot.name
    return snapshot / place.path


def _cached(place: SAEPlace) -> Path | None:
    return client.is_cached(place.source, place.revision or "main", _patterns(place))


def _download(place: SAEPlace, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Path:
    revision, patterns = place.revision or "main", _patterns(place)
    return client.download(place.source, revision, patterns, progress=progress, cancelled=cancelled)


def _patterns(place: SAEPlace) -> list[str]:
    if place.path.endswith(SUFFIX):  # the path of a control vector's file
        return [place.path]
    return [f"{place.path}/{name}" if place.path else name for name in FILES]


def _report(rows: "QuerySet[SAE]", done: int, total: int) -> None:
    rows.update(progress=done / max(total, 1))


class _Progress:
    """Writes the progress of the fingerprint to the row, at most twice a second. Raises Interrupted."""

    def __init__(self, rows: "QuerySet[SAE]", is_over: Callable[[], bool]) -> None:
        self._rows, self._is_over, self._last = rows, is_over, 0.0

    def __call__(self, done: float) -> None:
        if self._is_over():
            raise Interrupted
        if time.monotonic() - self._last >= UPDATE_S:
            self._last = time.monotonic()
            self._rows.update(progress=done)

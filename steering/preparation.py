"""An SAE's files on this machine, and its fingerprint: a worker's work, told on the SAE's row."""

import logging
import time
from functools import partial
from pathlib import Path

from django.db import connection
from django.db.models import QuerySet

from steering import hub
from steering.errors import SteeringError
from steering.fingerprint import decoder_fingerprint
from steering.formats import SAEConfig, read_config
from steering.hub_errors import DownloadCancelled
from steering.saes import SAE
from steering.sources import is_folder

logger = logging.getLogger(__name__)

UPDATE_S = 0.5
# A pickle must be asked for by its name; it is read with weights_only=True.
FILES = ("*.safetensors", "*.json", "*.npz", "ae.pt", "checkpoints/pruned.safetensors", "checkpoints/final.safetensors")


def prepare(sae_id: str) -> None:
    """Download what is missing, read the configuration, compute the fingerprint; an error is told on the row."""
    rows = SAE.objects.filter(pk=sae_id)
    sae = rows.first()
    if sae is None or (not sae.hook_name and sae.status != SAE.Status.QUEUED):
        return  # deleted or cancelled while it waited
    try:
        config = config_of(sae)
        if not sae.is_attached:  # what steers now was checked when it was attached
            sae.take(config)
            sae.save(update_fields=[*SAE.FROM_FILES, "status", "error", "revision"])
        if not sae.is_attached or not sae.fingerprint:
            rows.update(fingerprint=decoder_fingerprint(config, _Progress(sae_id)), progress=1.0)
    except DownloadCancelled:
        logger.info("the download of %s was cancelled", sae)
    except (SteeringError, OSError) as error:
        logger.warning("%s cannot be used: %s", sae, error)
        rows.update(status=SAE.Status.ERROR, error=str(error), progress=None)
    except Exception as error:
        connection.close()  # it may be what failed
        rows.update(status=SAE.Status.ERROR, error=f"{type(error).__name__}: {error}", progress=None)
        raise
    finally:
        connection.close()


def config_of(sae: SAE) -> SAEConfig:
    """What the SAE's files say, and where they are. Raises UnreadableSAE, or what a download raises."""
    return read_config(fetch(sae), path=f"{sae.source}/{sae.path}")


def fetch(sae: SAE) -> Path:
    """The SAE's folder on this machine, downloaded where it is not here; the row tells the progress."""
    if is_folder(sae.source):
        return Path(sae.source).expanduser() / sae.path
    wanted = [f"{sae.path}/{name}" if sae.path else name for name in FILES]
    revision = sae.revision or "main"
    folder = hub.is_cached(sae.source, revision, wanted)
    if folder is None:
        rows = SAE.objects.filter(pk=sae.pk)
        if not sae.hook_name:
            rows.filter(status=SAE.Status.QUEUED).update(status=SAE.Status.DOWNLOADING, progress=0.0, error="")
        folder = hub.download(
            sae.source,
            revision,
            wanted,
            progress=partial(_tell, rows),
            cancelled=lambda: not rows.filter(status__in=[SAE.Status.DOWNLOADING, SAE.Status.READY]).exists(),
        )
    # From now on this commit: another download of the repository may move what its branch means here.
    sae.revision = folder.name
    return folder / sae.path


def _tell(rows: "QuerySet[SAE]", done: int, total: int) -> None:
    rows.update(progress=done / max(total, 1))


class _Progress:
    """Tells the row how far the fingerprint is, at most every half second."""

    def __init__(self, sae_id: str) -> None:
        self._rows, self._last = SAE.objects.filter(pk=sae_id), 0.0

    def __call__(self, done: float) -> None:
        if time.monotonic() - self._last >= UPDATE_S:
            self._last = time.monotonic()
            self._rows.update(progress=done)

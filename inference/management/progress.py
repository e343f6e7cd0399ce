"""Progress of a load or a download, for commands with `--wait`."""

import time
from collections.abc import Callable

from django.core.management.base import CommandError

from inference.models import LanguageModel
from steering.models import SAE

POLL_S = 0.5
# Not `is_under_way`, since an SAE whose fingerprint is being computed can be attached.
IN_PROGRESS = {"queued", "downloading", "loading"}


def wait_until_served(model: LanguageModel, report: Callable[[str], object]) -> None:
    """`wait` for a load. Raises CommandError where no worker serves the model then."""
    wait(model, report)
    if model.status == LanguageModel.Status.ERROR:
        raise CommandError(model.why_unserved)
    if model.status != LanguageModel.Status.READY:
        raise CommandError(model.error or f"{model} is {model.status}: its load was cancelled")


def wait(row: LanguageModel | SAE, report: Callable[[str], object]) -> None:
    """Wait until a load or a download has ended, successfully or not; `report` each change of its progress."""
    reported = ""
    while row.status in IN_PROGRESS:
        share = "" if row.progress is None else f" {row.progress:.0%}"
        if (now := f"{row.status}{share}") != reported:
            report(now)
            reported = now
        time.sleep(POLL_S)
        row.refresh_from_db()

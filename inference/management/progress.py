"""What a command with `--wait` shows of a row that workers bring up."""

import time
from collections.abc import Callable

from inference.models import LanguageModel
from steering.models import SAE

POLL_S = 0.5
# Of an SAE, not its `is_under_way`: one whose fingerprint is being computed can be attached.
UNDER_WAY = {"queued", "downloading", "loading"}


def follow(row: LanguageModel | SAE, tell: Callable[[str], object]) -> None:
    """Wait until a load or a download has come to its end, good or bad; tell how far it is."""
    told = ""
    while row.status in UNDER_WAY:
        share = "" if row.progress is None else f" {row.progress:.0%}"
        if (now := f"{row.status}{share}") != told:
            tell(now)
            told = now
        time.sleep(POLL_S)
        row.refresh_from_db()

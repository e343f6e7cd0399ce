"""Stored responses expire: each worker deletes what is due, once a minute."""

import logging
import time
from collections.abc import Callable

from inference.models import StoredResponse

logger = logging.getLogger(__name__)

EVERY_S = 60.0


class Expiry:
    """Deletes expired responses where the last time was EVERY_S ago."""

    def __init__(self) -> None:
        self._due = time.monotonic()

    def __call__(self, is_stopping: Callable[[], bool]) -> bool:
        """Delete what has expired. Returns False, since nothing more waits; see `leases.threads.LeaseThreads`."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY_S
            if count := StoredResponse.objects.delete_expired():
                logger.info("%d stored responses have expired", count)
        return False

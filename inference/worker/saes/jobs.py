"""The preparation of SAEs in a worker, in threads of its own: downloads, and computations of fingerprints.

A worker finds this work on the rows. Nobody sends it to a worker, so none is lost with one.
"""

import logging
import threading

from django.conf import settings
from django.db import DatabaseError, connection

from inference.worker.saes.preparation import take_up

logger = logging.getLogger(__name__)

AT_ONCE = 2  # so that a long download does not hold up a fingerprint
POLL_S = 1.0


class SAEJobs:
    """Prepares SAEs, in AT_ONCE threads, until `stopping` is set."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._threads = [
            threading.Thread(target=self._work, name=f"job-{number}", daemon=True)
            for number in range(AT_ONCE if settings.INFERENCE_JOBS else 0)
        ]
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for each thread to end, up to `timeout_s`."""
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and take_up(self._stopping.is_set):
                    pass
            except DatabaseError as error:
                logger.warning("no SAE can be prepared: %s", error)
            except Exception:  # its row has the error; the next SAE may be better
                logger.exception("an SAE could not be prepared")
            finally:
                connection.close()
            self._stopping.wait(POLL_S)

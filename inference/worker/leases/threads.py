"""Threads that take up leased work, one after another.

A worker finds this work on the rows. Nobody sends it to a worker, so none is lost with one.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from django.db import DatabaseError, connection

logger = logging.getLogger(__name__)

POLL_S = 1.0


class LeaseThreads:
    """Calls `take_up`, which returns False where nothing waits, in threads with these names until `stopping` is set."""

    def __init__(
        self, names: Sequence[str], take_up: Callable[[Callable[[], bool]], bool], stopping: threading.Event
    ) -> None:
        self._take_up, self._stopping = take_up, stopping
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for each thread to end, up to `timeout_s`."""
        for thread in self._threads:
            thread.join(timeout_s)

    def _work(self) -> None:
        name = threading.current_thread().name
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and self._take_up(self._stopping.is_set):
                    pass
            except DatabaseError as error:
                logger.warning("%s cannot go on: %s", name, error)
            except Exception:  # its row has the error; the next one may be better
                logger.exception("%s failed at a row", name)
            finally:
                connection.close()
            self._stopping.wait(POLL_S)

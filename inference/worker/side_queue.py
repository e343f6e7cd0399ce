"""A thread for work beside the batch, which must not take the threads of chats."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from inference.engine.cores import with_all
from inference.interface import EngineBusy


class SideQueue:
    """Runs functions one after another beside the threads of chats; `waiting` of them may wait for that."""

    def __init__(self, kind: str, waiting: int) -> None:
        self._kind, self._waiting = kind, waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=kind)
        self._places = threading.BoundedSemaphore(1 + waiting)

    def submit(self, function: Callable[[], None]) -> None:
        """Queue `function`. Raises EngineBusy."""
        if not self._places.acquire(blocking=False):
            raise EngineBusy(f"{self._waiting} requests for {self._kind} are waiting already: try again later")
        self._thread.submit(self._run, function)

    def _run(self, function: Callable[[], None]) -> None:
        try:
            with_all(function)
        finally:
            self._places.release()

    def close(self) -> None:
        """Drop the functions that wait and let the running one finish."""
        self._thread.shutdown(wait=True, cancel_futures=True)

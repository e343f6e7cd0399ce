"""Answers for which no user waits: they take places of the batch that are free, and give way to users."""

import queue
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Generic, TypeVar

from inference.engine.engine import ContinuousEngine
from inference.interface import Event, GenerationRequest

AT_ONCE = 4
"""Background requests in the batch, at most."""
PREFIX = "background-"

K = TypeVar("K", bound=Hashable)


@dataclass
class BackgroundAnswer(Generic[K]):
    """An answer so far; `key` is the caller's name for it. `code` is that of its failure, and empty without one."""

    key: K
    prompt_ids: list[int]
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    reason: str = ""
    code: str = ""
    message: str = ""


class BackgroundAnswers(Generic[K]):
    """Has background requests answered by `engine()`.

    One thread calls all methods but `take`, which the engine's listening thread calls.
    """

    def __init__(self, engine: Callable[[], ContinuousEngine]) -> None:
        self._engine = engine
        self._running: dict[str, BackgroundAnswer[K]] = {}
        self._ended: queue.SimpleQueue[BackgroundAnswer[K]] = queue.SimpleQueue()
        self._numbers = count()
        self._lock = threading.Lock()
        """So that an answer is running, or has ended, or was cancelled."""

    def __len__(self) -> int:
        """The number of answers that are running, or that `ended` has not returned yet."""
        with self._lock:
            return len(self._running) + self._ended.qsize()

    def has_room(self) -> bool:
        """Return True if one more may be submitted now: a place is free, and no user's request waits."""
        return len(self._running) < AT_ONCE and self._engine().free_places() > 0

    def submit(self, key: K, request: GenerationRequest) -> None:
        """Submit a request, whose id is replaced. Raises what `ContinuousEngine.submit` raises."""
        request_id = f"{PREFIX}{next(self._numbers)}"
        self._running[request_id] = BackgroundAnswer(key, list(request.prompt_ids))
        try:
            self._engine().submit(replace(request, request_id=request_id, background=True))
        except BaseException:
            self._running.pop(request_id, None)
            raise

    def give_way(self) -> list[K]:
        """Where a user's request waits for room, cancel all requests; returns their keys."""
        return self.cancel() if self._running and self._engine().users_wait() else []

    def cancel(self) -> list[K]:
        """Cancel all requests; returns their keys."""
        with self._lock:
            cancelled, self._running = self._running, {}
        for request_id in cancelled:
            self._engine().cancel(request_id)
        return [answer.key for answer in cancelled.values()]

    def ended(self, timeout_s: float) -> BackgroundAnswer[K] | None:
        """An answer that has ended; None where none does within `timeout_s`."""
        try:
            return self._ended.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def take(self, events: list[Event]) -> list[Event]:
        """Take the events of background requests; returns the others."""
        others = [event for event in events if not event.request_id.startswith(PREFIX)]
        for event in events if len(others) < len(events) else ():
            if answer := self._running.get(event.request_id):
                self._take(answer, event)
        return others

    def _take(self, answer: BackgroundAnswer[K], event: Event) -> None:
        if event.kind == "delta":
            answer.text += event.data["text"]
            answer.token_ids += event.data["token_ids"]
        elif event.kind == "finished":
            answer.reason = event.data["reason"]
        elif event.kind == "failed":
            answer.code, answer.message = event.data["code"], event.data["message"]
        if event.is_last:
            with self._lock:
                if self._running.pop(event.request_id, None):
                    self._ended.put(answer)

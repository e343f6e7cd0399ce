"""A request at a worker, from its claim to its last event."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from inference.interface import Event, EventsLost, GenerationError
from inference.outages import REDIS, outage_of
from steering.errors import Refused

logger = logging.getLogger(__name__)

CHOICE = "#"


def choice_id(request_id: str, index: int) -> str:
    """The id of the engine's request for one choice of a request."""
    return f"{request_id}{CHOICE}{index}"


@dataclass
class Job:
    """A claimed request; `choices` are all its answers, `left` are those that have not ended."""

    request_id: str
    inbox: str
    choices: int
    ends_at: float
    """Its deadline by time.monotonic(), a clock of this process that never jumps."""
    echoes: list[dict[str, Any]] = field(default_factory=list)
    """The echo of each prompt; empty once it was reported."""
    holds: Callable[[Event], bool] = lambda event: False
    """Returns True for an event of a choice that is written later, by the thread of the task."""
    left: int = field(init=False)
    error: GenerationError | None = None
    """Set when something other than the engine ends the job (its web process gone, Redis lost)."""
    failed: str = ""
    """The code of the failure that the engine reported."""
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.left = self.choices

    @property
    def left_s(self) -> float:
        """Seconds until its deadline."""
        return self.ends_at - time.monotonic()

    def end(self, error: GenerationError) -> None:
        """Have the thread of its task fail it with `error`."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()

    def take_echo(self, choice: int) -> dict[str, Any]:
        """The echo of this choice's prompt, once per prompt: the web repeats it for the other choices."""
        if not self.echoes:
            return {}
        prompt = choice * len(self.echoes) // self.choices
        echo, self.echoes[prompt] = self.echoes[prompt], {}
        return echo

    def outcome(self) -> str:
        """The end of the job in one word, for the log."""
        return "cancelled" if self.left > 0 else self.failed or "answered"


def failure_of(request_id: str, error: Exception) -> tuple[str, str, str | None]:
    """The code, message and param for the last event of a request that `error` ended."""
    if isinstance(error, GenerationError):
        return error.code, str(error), error.param
    if isinstance(error, Refused):
        return "sae_unavailable", str(error), None
    if (outage := outage_of(error)) is not None:
        logger.error("%s: %s: %s", request_id, outage.service, error)
        lost = outage is REDIS
        return (EventsLost.code, str(EventsLost()), None) if lost else (outage.code, outage.message, None)
    logger.error("request %s failed", request_id, exc_info=error)
    return "internal_error", "The worker failed on this request; its log says why.", None

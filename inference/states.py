"""How far the load of a model is: what the workers say of it in their heartbeats, as one state."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import models
from django.db.models import QuerySet
from redis import RedisError

from inference.broker import heartbeats

logger = logging.getLogger(__name__)


class Status(models.TextChoices):
    REGISTERED = "registered"
    QUEUED = "queued"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    READY = "ready"
    ERROR = "error"
    UNKNOWN = "unknown"


UNDER_WAY = {Status.QUEUED, Status.DOWNLOADING, Status.LOADING}
BEST_FIRST = (Status.READY, Status.LOADING, Status.DOWNLOADING, Status.ERROR)
"""One worker that serves it is enough; an error is told when nobody serves it and nobody is about to."""


@dataclass(frozen=True)
class State:
    """A status; how far a download is, from 0 to 1; what went wrong."""

    status: Status
    progress: float | None = None
    error: str = ""


class Workers:
    """The live workers, asked for once, when somebody wants to know."""

    def __init__(self, known: Sequence[heartbeats.Heartbeat] | None = None) -> None:
        if known is not None:
            self.now = known

    @cached_property
    def now(self) -> Sequence[heartbeats.Heartbeat] | None:
        """None where Redis does not answer."""
        try:
            return heartbeats.live_workers()
        except RedisError as error:
            logger.warning("what workers do is not known: %s", error)
            return None


class LoadableQuerySet(QuerySet[Any]):
    """Rows that are read together share one look at the workers."""

    def _fetch_all(self) -> None:
        is_read = self._result_cache is not None
        super()._fetch_all()
        if not is_read:
            workers = Workers()
            for row in self._result_cache or ():
                if isinstance(row, Loadable):
                    row.workers = workers


class Loadable(models.Model):
    """What workers load; the state is that of the load that is wanted now."""

    name: Any
    is_current: Any
    workers: Workers | None = None
    """Those that were there when the state was first asked for, since the row was read."""

    class Meta:
        abstract = True

    @property
    def load_id(self) -> str:
        """The load that is wanted."""
        raise NotImplementedError

    @property
    def state(self) -> State:
        """Of all workers together."""
        self.workers = self.workers or Workers()
        if self.workers.now is None:
            return State(Status.UNKNOWN, error="Redis does not answer: what workers do with the model is not known.")
        told = {one.status: one for one in sorted(filter(self._is_at_this, self.workers.now), key=_how_far)}
        for status in BEST_FIRST:
            if found := told.get(status):
                return State(status, found.progress, found.error)
        return State(Status.QUEUED if self.is_current else Status.REGISTERED)

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def progress(self) -> float | None:
        return self.state.progress

    @property
    def error(self) -> str:
        return self.state.error

    def get_status_display(self) -> str:
        return str(self.status.label)

    @property
    def is_under_way(self) -> bool:
        """Whether workers are bringing it up, so that its state changes by itself."""
        return self.status in UNDER_WAY

    @property
    def waits(self) -> bool:
        """Whether no worker is at it."""
        return self.status == Status.QUEUED

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        self.workers = None
        super().refresh_from_db(*args, **kwargs)

    def _is_at_this(self, worker: heartbeats.Heartbeat) -> bool:
        if not (self.is_current or worker.is_pinned):
            return False  # it has not noticed yet that the model was unloaded
        if not worker.load:  # of an older version
            return worker.serves(self.name)
        return worker.load == self.load_id


def _how_far(worker: heartbeats.Heartbeat) -> float:
    return worker.progress or 0.0

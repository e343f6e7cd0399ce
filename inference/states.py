"""The state of a model's load: the reports of all workers, from their heartbeats, as one."""

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
"""The first that a worker reports is the state: an error counts where no worker serves or loads the model."""


@dataclass(frozen=True)
class State:
    """A status; the progress of a download, from 0 to 1; the error message."""

    status: Status
    progress: float | None = None
    error: str = ""


class Workers:
    """The live workers, read from Redis once, on first use."""

    def __init__(self, known: Sequence[heartbeats.Heartbeat] | None = None) -> None:
        if known is not None:
            self.now = known

    @cached_property
    def now(self) -> Sequence[heartbeats.Heartbeat] | None:
        """None where Redis does not answer."""
        try:
            return heartbeats.live_workers()
        except RedisError as error:
            logger.warning("the state of workers is unknown: %s", error)
            return None


class LoadableQuerySet(QuerySet[Any]):
    """Rows that are read together share one read of the workers."""

    def _fetch_all(self) -> None:
        is_read = self._result_cache is not None
        super()._fetch_all()
        if not is_read:
            workers = Workers()
            for row in self._result_cache or ():
                if isinstance(row, Loadable):
                    row.workers = workers


class Loadable(models.Model):
    """The state of the wanted load, for a row that workers load."""

    name: Any
    is_current: Any
    workers: Workers | None = None
    """The workers at the first use of the state since the row was read."""

    class Meta:
        abstract = True

    @property
    def load_id(self) -> str:
        """The load that is wanted."""
        raise NotImplementedError

    @property
    def state(self) -> State:
        """The state over all workers."""
        self.workers = self.workers or Workers()
        if self.workers.now is None:
            return State(Status.UNKNOWN, error="Redis does not answer: what workers do with the model is not known.")
        reports = filter(None, map(self._report, self.workers.now))
        reported = {one.status: one for one in sorted(reports, key=lambda one: one.progress or 0.0)}
        for status in BEST_FIRST:
            if status in reported:
                return reported[status]
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
    def still_served(self) -> list[str]:
        """The names of other models that workers answer for while the wanted load is not ready; sorted."""
        if not self.is_current or self.status in (Status.READY, Status.UNKNOWN):
            return []
        self.workers = self.workers or Workers()
        return sorted({one.model for one in self.workers.now or () if one.serves_any and one.model != self.name})

    @property
    def is_under_way(self) -> bool:
        """True while a load is in progress: workers change the state then."""
        return self.status in UNDER_WAY

    @property
    def waits(self) -> bool:
        """True while no worker has begun the load."""
        return self.status == Status.QUEUED

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        self.workers = None
        super().refresh_from_db(*args, **kwargs)

    def _report(self, worker: heartbeats.Heartbeat) -> State | None:
        """The state of the wanted load by one worker; None where it neither serves it nor works on it."""
        if not (self.is_current or worker.is_pinned):
            return None  # the worker has not yet seen that the model was unloaded
        if worker.open_load == self.load_id:  # whatever else it loads
            return State(Status.READY, 1.0)
        is_at_this = worker.load == self.load_id if worker.load else worker.serves(self.name)  # of an older version
        known = is_at_this and worker.status in Status.values
        return State(Status(worker.status), worker.progress, worker.error) if known else None

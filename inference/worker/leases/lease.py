"""A lease on the work for a row: one worker at a time holds it, and it expires when its worker dies.

`due_at` of the row is the time at which a worker may take the row. It is in the past while the row waits. It is the end
of the lease while a worker works on the row; that worker renews the lease. It is null when nothing is left to do. The
clock is PostgreSQL's. A `due_at` beyond the longest lease was written before that clock was set back; the row is due.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Generic, Self, TypeVar

from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from inference.measuring.models import Measurement
from inference.sweeps.models import Sweep
from steering.saes import SAE

logger = logging.getLogger(__name__)

LEASE_S = 10.0

R = TypeVar("R", SAE, Measurement, Sweep)


class LeaseLost(Exception):
    """The work on the row is cancelled, was requested again, or is another worker's by now."""


class Lease(Generic[R]):
    """Held inside the `with` block. `is_over()` is true once the worker stops, or another worker holds the row.

    A database error that leaves the block leaves the lease to expire: the work is taken up again then.
    """

    def __init__(self, row: R, rows: QuerySet[R], is_stopping: Callable[[], bool]) -> None:
        self.row: R = row
        self._rows: QuerySet[R] = rows.model._default_manager.all()
        self._is_stopping = is_stopping
        self._until = row.due_at
        self._renewal = threading.Lock()
        self._lost, self._released = threading.Event(), threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    @transaction.atomic
    def take(cls, rows: QuerySet[R], is_stopping: Callable[[], bool]) -> Self | None:
        """Take a lease on that of `rows` that has waited longest; None where none of them waits."""
        is_due = Q(due_at__lte=Now()) | Q(due_at__gt=Now() + timedelta(seconds=LEASE_S))
        row = rows.select_for_update(skip_locked=True).filter(is_due).order_by("due_at").first()
        if row is None:
            return None
        _put_off(row, rows)
        return cls(row, rows, is_stopping)

    def is_over(self) -> bool:
        return self._lost.is_set() or self._is_stopping()

    @contextmanager
    def hold(self) -> Iterator[R]:
        """A transaction with the row as it is now, which no other process changes until the block ends.

        Raises LeaseLost, also where another process changes the row at this moment.
        """
        with self._renewal, transaction.atomic():
            mine = self._rows.select_for_update(skip_locked=True).filter(pk=self.row.pk, due_at=self._until).first()
            if mine is None:
                self._lost.set()
                raise LeaseLost
            _put_off(mine, self._rows)
            yield mine
            self._until = mine.due_at

    def update(self, **fields: Any) -> None:
        """Write to the row, unless it is another worker's by now."""
        with self._renewal:
            self._rows.filter(pk=self.row.pk, due_at=self._until).update(**fields)

    def __enter__(self) -> Self:
        self._renewing.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._released.set()
        self._renewing.join()
        if not isinstance(error, DatabaseError):
            self.update(due_at=Now() if self._is_stopping() else None)  # due at once, for another worker

    def _renew(self) -> None:
        while not self._released.wait(LEASE_S / 3) and not self._lost.is_set():
            try:
                self._renew_once()
            except DatabaseError as error:  # the lease expires if PostgreSQL stays unavailable
                logger.warning("the lease on %s is not renewed: %s", self.row, error)
            finally:
                connection.close()

    def _renew_once(self) -> None:
        with self._renewal, transaction.atomic():  # in this order: a row that is locked is another worker's for `hold`
            mine = self._rows.select_for_update().filter(pk=self.row.pk, due_at=self._until).first()
            if mine is None:  # cancelled, requested again, or taken by another worker
                self._lost.set()
                return
            _put_off(mine, self._rows)
            self._until = mine.due_at


def _put_off(row: R, rows: QuerySet[R]) -> None:
    rows.filter(pk=row.pk).update(due_at=Now() + timedelta(seconds=LEASE_S))
    row.refresh_from_db(fields=["due_at"])

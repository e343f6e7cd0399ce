"""A lease on the preparation of an SAE: one worker at a time holds it, and it expires when its worker dies.

`due_at` of the row is the time at which a worker may take the SAE. It is in the past while the SAE waits. It is the end
of the lease while a worker prepares the SAE; that worker renews the lease. It is null when nothing is left to do. The
clock is PostgreSQL's. A `due_at` beyond the longest lease was written before that clock was set back; the SAE is due.
"""

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from steering.saes import SAE

logger = logging.getLogger(__name__)

LEASE_S = 10.0


class Lease:
    """Held inside the `with` block. `is_over()` is true once the worker stops, or another worker holds the SAE."""

    def __init__(self, sae: SAE, is_stopping: Callable[[], bool]) -> None:
        self.sae, self._is_stopping = sae, is_stopping
        self._until = sae.due_at
        self._lost, self._released = threading.Event(), threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    @transaction.atomic
    def take(cls, is_stopping: Callable[[], bool]) -> Self | None:
        """Take a lease on the SAE that has waited longest; None where no SAE waits."""
        is_due = Q(due_at__lte=Now()) | Q(due_at__gt=Now() + timedelta(seconds=LEASE_S))
        sae = SAE.objects.select_for_update(skip_locked=True).filter(is_due).order_by("due_at").first()
        if sae is None:
            return None
        _put_off(sae)
        return cls(sae, is_stopping)

    def is_over(self) -> bool:
        return self._lost.is_set() or self._is_stopping()

    def __enter__(self) -> Self:
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._renewing.join()
        mine = SAE.objects.filter(pk=self.sae.pk, due_at=self._until)
        mine.update(due_at=Now() if self._is_stopping() else None)  # due at once, for another worker

    def _renew(self) -> None:
        while not self._released.wait(LEASE_S / 3) and not self._lost.is_set():
            try:
                self._renew_once()
            except DatabaseError as error:  # the lease expires if PostgreSQL stays unavailable
                logger.warning("the lease on %s is not renewed: %s", self.sae, error)
            finally:
                connection.close()

    @transaction.atomic
    def _renew_once(self) -> None:
        mine = SAE.objects.select_for_update().filter(pk=self.sae.pk, due_at=self._until).first()
        if mine is None:  # cancelled, requested again, or taken by another worker
            self._lost.set()
            return
        _put_off(mine)
        self._until = mine.due_at


def _put_off(sae: SAE) -> None:
    SAE.objects.filter(pk=sae.pk).update(due_at=Now() + timedelta(seconds=LEASE_S))
    sae.refresh_from_db(fields=["due_at"])

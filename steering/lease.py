"""A lease on the preparation of an SAE: one worker at a time has it, and it ends with its worker.

`due_at` of the row is when a worker is to take it up: the past while it waits, the end of the lease while a worker is
at it, which puts it off again and again, and null when nothing is left to do. The clock is PostgreSQL's. What is due
later than any lease ends was written before that clock was set back, and is due now.
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
    """Held inside its `with` block. `is_over` once the worker stops, or where the row is no longer this worker's."""

    def __init__(self, sae: SAE, is_stopping: Callable[[], bool]) -> None:
        self.sae, self._is_stopping = sae, is_stopping
        self._until = sae.due_at
        self._lost, self._released = threading.Event(), threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)

    @classmethod
    @transaction.atomic
    def take(cls, is_stopping: Callable[[], bool]) -> Self | None:
        """That of the SAE that has waited longest; None where none waits."""
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
        mine.update(due_at=Now() if self._is_stopping() else None)  # another worker goes on at once

    def _renew(self) -> None:
        while not self._released.wait(LEASE_S / 3) and not self._lost.is_set():
            try:
                self._renew_once()
            except DatabaseError as error:  # where it stays away, another worker may take the SAE up
                logger.warning("the lease on %s is not renewed: %s", self.sae, error)
            finally:
                connection.close()

    @transaction.atomic
    def _renew_once(self) -> None:
        mine = SAE.objects.select_for_update().filter(pk=self.sae.pk, due_at=self._until).first()
        if mine is None:  # cancelled, asked for again, or another worker's
            self._lost.set()
            return
        _put_off(mine)
        self._until = mine.due_at


def _put_off(sae: SAE) -> None:
    SAE.objects.filter(pk=sae.pk).update(due_at=Now() + timedelta(seconds=LEASE_S))
    sae.refresh_from_db(fields=["due_at"])

"""The frame of a long job on a row: how it begins, ends early, is refused and fails."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import DatabaseError, connection

from inference.engine.reading.statistics import NotFinite
from inference.interface import GenerationError
from inference.measuring.models import Measurement
from inference.sweeps.models import Sweep
from inference.worker.leases.lease import Lease, LeaseLost
from steering.errors import Refused

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Leases without progress, after which the job itself is taken for the reason that its workers end."""

R = TypeVar("R", Measurement, Sweep)


class Interrupted(Exception):
    """The worker stops or unloads the model, or the job is cancelled or another worker's."""


class LeasedRun(Generic[R]):
    """A job on the row of a lease that this worker holds. `attempts` of the row counts leases without progress."""

    def __init__(self, lease: Lease[R]) -> None:
        self._lease: Lease[R] = lease
        self._row: R = lease.row

    def run_job(self, *stages: Callable[[], None]) -> None:
        """Do the stages in order; an error is written to the row. Returns early where the lease is over.

        Raises DatabaseError, after which the job is taken up again, or an error that is no user's matter.
        """
        try:
            for stage in stages:
                stage()
        except (Interrupted, LeaseLost):
            logger.info("the %s ends early", self._row)
            self._lease.update(attempts=self._row.attempts)  # the job is not to blame
        except (Refused, GenerationError, NotFinite, OSError) as error:
            logger.warning("the %s ends: %s", self._row, error)
            self._fail(str(error).removesuffix("."))  # pages and commands end the sentence
        except DatabaseError:
            raise
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            raise

    def _fail(self, error: str) -> None:
        connection.close()  # the connection itself may be broken
        self._lease.update(status=self._row.Status.ERROR, error=error)

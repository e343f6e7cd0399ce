"""The sweeps that a worker takes up: those of the model that it serves."""

import threading
from collections.abc import Callable
from functools import partial

from inference.sweeps.models import Sweep
from inference.worker.leases.lease import Lease
from inference.worker.leases.threads import LeaseThreads
from inference.worker.sweeping.run import Run, SweepModel


class Sweeps:
    """Works, in a thread of its own, on the sweeps that wait for the model with this name, until `close`."""

    def __init__(self, name: str, model: SweepModel) -> None:
        self._stopping = threading.Event()
        self._threads = LeaseThreads(["sweeps"], partial(sweep_next, name, model), self._stopping)

    def close(self) -> None:
        """Cancel the answers in progress, and end. The sweep waits for the next worker of the model."""
        self._stopping.set()
        self._threads.join()


def sweep_next(name: str, model: SweepModel, is_stopping: Callable[[], bool]) -> bool:
    """Work on the sweep that has waited longest for the model with this name. Returns False where none waited."""
    lease = Lease.take(Sweep.objects.filter(model_name=name, status__in=Sweep.ONGOING), is_stopping)
    if lease is None:
        return False
    with lease:
        Run(lease, model).run()
    return True

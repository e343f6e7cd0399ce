"""The measurings that a worker takes up: those of SAEs that the model it serves can read."""

import threading
from collections.abc import Callable
from functools import partial

from inference.measuring.models import Measurement
from inference.worker.leases.lease import Lease
from inference.worker.leases.threads import LeaseThreads
from inference.worker.measuring.run import MeasuringModel, Run


class Measurings:
    """Measures, in a thread of its own, the SAEs that wait for the model with this name, until `close`."""

    def __init__(self, name: str, model: MeasuringModel) -> None:
        self._stopping = threading.Event()
        self._threads = LeaseThreads(["measuring"], partial(measure_next, name, model), self._stopping)

    def close(self) -> None:
        """End after the forward pass in progress. The measuring waits for the next worker of the model."""
        self._stopping.set()
        self._threads.join()


def measure_next(name: str, model: MeasuringModel, is_stopping: Callable[[], bool]) -> bool:
    """Measure by `model`, which has this name, the SAE that has waited longest. Returns False where none waited."""
    rows = Measurement.objects.filter(model_name=name, status__in=Measurement.ONGOING)
    lease = Lease.take(rows, is_stopping)
    if lease is None:
        return False
    with lease:
        Run(lease, model).run()
    return True

"""The status of a worker, which its heartbeat reports."""

import logging
import threading
from collections.abc import Callable

import psutil
import redis
import torch
from django.conf import settings

from inference.broker.heartbeats import Heartbeat, write_heartbeat
from inference.models import LanguageModel
from inference.worker.memory import free_bytes
from inference.worker.model_server import ModelServer

logger = logging.getLogger(__name__)


class WorkerStatus:
    """The status of the worker with the id `worker`; `server` returns its model server, if a model is loaded.

    The thread that follows the rows changes the status, the heartbeat's thread writes it again and again.
    """

    def __init__(self, worker: str, server: Callable[[], ModelServer | None]) -> None:
        self._worker, self._server = worker, server
        # "loading" until the rows say that no model is wanted: an idle worker is a ready one.
        self.status = "loading"
        self.is_open = False
        """True where the worker takes the tasks of its model."""
        self._load, self._error = "", ""
        self._progress: float | None = None
        self._lock = threading.Lock()

    def change(
        self, status: str, model: LanguageModel | None = None, progress: float | None = None, error: str = ""
    ) -> None:
        """Report another status at once; `model` is the one that the worker loads or serves."""
        with self._lock:
            self.status, self._load = status, model.load_id if model else ""
            self._progress, self._error = progress, error
        self.write()

    def write(self) -> None:
        """Write the heartbeat; without Redis nobody reads it."""
        with self._lock:  # so that no older heartbeat replaces a newer one
            try:
                write_heartbeat(self._heartbeat())
            except redis.RedisError as error:
                logger.warning("no heartbeat: %s", error)

    def _heartbeat(self) -> Heartbeat:
        server = self._server()
        statistics = server.engine.statistics() if server else None
        return Heartbeat(
            worker=self._worker,
            model=server.model.name if server else "",
            status=self.status,
            is_open=self.is_open,
            device=server.device if server else "",
            running=statistics.running if statistics else 0,
            waiting=statistics.waiting if statistics else 0,
            max_requests=statistics.max_requests if statistics else 0,
            generated_tokens=statistics.generated_tokens if statistics else 0,
            memory_bytes=psutil.Process().memory_info().rss,
            gpu_bytes=_gpu_bytes(server.device) if server else None,
            free_bytes=free_bytes(torch.device(server.device)) if server else None,
            load=self._load,
            progress=self._progress,
            error=self._error,
            open_load=server.model.load_id if server and self.is_open else "",
            engine=settings.INFERENCE_ENGINE,
            lacks=server.LACKS if server else (),
            is_pinned=bool(settings.INFERENCE_MODEL),
        )


def _gpu_bytes(device: str) -> int | None:
    return torch.cuda.memory_allocated(device) if device.startswith("cuda") else None

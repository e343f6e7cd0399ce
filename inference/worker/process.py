"""A worker process: it follows the rows, which say what model it should serve, and says how it is by a heartbeat."""

import gc
import logging
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Mapping, Set
from contextlib import suppress
from typing import Any, cast

import psutil
import redis
import torch
from celery import current_app
from celery.platforms import EX_FAILURE
from celery.worker import state
from django.conf import settings
from django.db import connection

from inference import metrics
from inference.broker import counters as traffic
from inference.broker import stream
from inference.engine.loading import rehearse
from inference.interface import EngineStatistics
from inference.models import LanguageModel
from inference.outages import outage_of
from inference.worker.files import Unwanted, fetch
from inference.worker.jobs import Jobs
from inference.worker.memory import check_fits
from inference.worker.model_server import Serving

logger = logging.getLogger(__name__)

FOLLOW_S = 0.5
REPLY_S = 5.0
FREE_S = 5.0
ERROR_LENGTH = 2000  # of what a heartbeat says


class Worker:
    """Serves the current model, or the one of INFERENCE_MODEL; a change of the rows is followed within 2 seconds."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        # A restarted worker is another worker: whoever waits for the old one must see that it is gone.
        self.id = f"{hostname}:{uuid.uuid4().hex[:8]}"
        self.serving: Serving | None = None
        # "loading" until the rows say that nothing is wanted: an idle worker is a ready one.
        self._status, self._load, self._progress, self._error = "loading", "", cast(float | None, None), ""
        self._is_open = False
        self._saying = threading.Lock()
        self._tried = ""
        self._counted_tokens = 0
        self._stopping, self._closed = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, name="follow", daemon=True),
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._jobs = Jobs(self._stopping)

    def close(self) -> None:
        """Finish what is running, and end."""
        self._stopping.set()
        self._threads[0].join()
        self._drop(take_no_more=False)  # Celery has stopped taking tasks by now
        self._jobs.join(timeout_s=1)
        self._closed.set()
        self._threads[1].join(timeout=5)
        stream.clear_heartbeat(self.id)

    def statistics(self) -> EngineStatistics | None:
        """Of its engine, where one is loaded."""
        serving = self.serving
        return serving.engine.statistics() if serving else None

    def serving_of(
        self, message: Mapping[str, Any], needed: Set[str], may_lack: Collection[str] = ()
    ) -> Serving | None:
        """What answers a task. None where its model is not served here any more: then the request fails.

        A queue outlives a load: what waited in it must not be answered by another model. And a web of another version
        may have written it: what it asks for in a field that is not known here must not be left out.
        """
        serving = self.serving
        if not needed <= message.keys() <= needed | set(may_lack):
            told = "The web and the worker are of versions that do not fit: the workers are upgraded before the web."
        elif serving is not None and serving.model.version == message["version"]:
            return serving
        else:
            told = "The model was unloaded, or loaded anew, just now: try again."
        stream.tell_failure(message["inbox"], message["request_id"], "no_worker", told)
        return None

    # --- following the rows ---

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._converge()
            except Exception as error:
                if outage_of(error) is None and not isinstance(error, ConnectionError):
                    _give_up("this worker cannot follow the rows")
                    return
                logger.warning("the rows cannot be followed: %s", error)
            finally:
                connection.close()
            self._stopping.wait(FOLLOW_S)

    def _converge(self) -> None:
        wanted = self._wanted()
        serves = self.serving.model if self.serving else None
        if wanted is not None and serves is not None and wanted.load_id == serves.load_id:
            if not self._is_open or self._status != "ready":  # the broker was away, or another model's load failed
                self._open(wanted)
            return
        if wanted is None:
            if self.serving is not None:
                self._drop(take_no_more=True)
            self._tried = ""
            if self._status != "idle":
                self._say("idle")
        elif self._tried != wanted.load_id:  # what failed is tried again when a load is asked for again
            self._tried = wanted.load_id
            self._take_up(wanted)

    def _wanted(self) -> LanguageModel | None:
        if settings.INFERENCE_MODEL:
            row = LanguageModel.objects.filter(name=settings.INFERENCE_MODEL).first()
            # It is this worker's one model: without a row there is nothing that it should serve instead.
            return row or (self.serving.model if self.serving else None)
        return LanguageModel.objects.current()

    def _is_wanted(self, model: LanguageModel) -> bool:
        wanted = self._wanted()
        return wanted is not None and wanted.load_id == model.load_id and not self._stopping.is_set()

    def _take_up(self, model: LanguageModel) -> None:
        """Load the model and take its tasks; what was served before goes only when its files are here, and whole."""
        self._say("loading", model)
        if not self._goes_well(model, self._prepare):
            return
        if self.serving is not None:
            self._tried = ""  # should Redis be away just now, this begins anew
            self._drop(take_no_more=True)
            self._tried = model.load_id
            self._say("loading", model)
        if self._goes_well(model, self._bring_up):
            self._open(model)

    def _prepare(self, model: LanguageModel) -> None:
        model.local_path = fetch(
            model, lambda: self._is_wanted(model), lambda done: self._say("downloading", model, done)
        )
        self._say("loading", model)
        rehearse(model.path, model.dtype, model.device)
        check_fits(model, in_place_of=self.serving.engine.model if self.serving else None)

    def _bring_up(self, model: LanguageModel) -> None:
        logger.info("loading %s from %s", model, model.local_path)
        check_fits(model)
        self.serving = Serving(self.id, model)

    def _goes_well(self, model: LanguageModel, step: Callable[[LanguageModel], None]) -> bool:
        """Do a step of a load; the heartbeat says what went wrong."""
        try:
            step(model)
        except Unwanted:
            logger.info("%s is not wanted any more", model)
        except Exception as error:
            if outage_of(error) is not None:
                self._tried = ""  # nothing is wrong with the model: it is tried again
                raise
            logger.exception("%s cannot be served", model)
            _free_memory()
            self._say("error", model, error=f"{model.source} cannot be served: {error}"[:ERROR_LENGTH])
        else:
            return True
        return False

    def _open(self, model: LanguageModel) -> None:
        """Take the tasks of the model that is served, and say so. Raises RedisError: then it is to be tried again."""
        assert self.serving is not None
        self.serving.listen_for_cancellations()
        self._tell_celery("add_consumer", model.queue)
        self._is_open = True
        self._say("ready", model, 1.0)  # from now on requests are sent here
        logger.info("%s is ready", model)

    def _tell_celery(self, what: str, queue: str) -> None:
        """Have this process's Celery take, or take no more, the tasks of a queue."""
        tell = getattr(current_app.control, what)
        while not tell(queue, destination=[self.hostname], reply=True, timeout=REPLY_S):
            if self._stopping.is_set():
                return  # Celery's consumer is not up yet, or reconnects: it did not hear

    def _drop(self, *, take_no_more: bool) -> None:
        """End what is served: no more tasks, what is running finishes, the memory is freed."""
        serving = self.serving
        if take_no_more and serving is not None:
            self._status = "unloading"  # said once its tasks go to others
            self._tell_celery("cancel_consumer", serving.model.queue)
        self._is_open = False
        self._say("unloading")
        if serving is None:
            return
        serving.close()
        loaded = weakref.ref(serving.engine.model)
        self.serving = None
        del serving
        _free_memory_of(loaded)

    # --- the heartbeat ---

    def _beat(self) -> None:
        """Until the worker is closed: what is running then still has a worker that is alive."""
        try:
            while not self._closed.wait(settings.INFERENCE_HEARTBEAT_S):
                self._check_engine()
                self._look_after_requests()
                self._count_tokens()
                self._write_heartbeat()
        except Exception:
            _give_up("this worker cannot go on")

    def _check_engine(self) -> None:
        serving = self.serving  # in no variable of the loop, which would keep an unloaded model in memory
        if serving is not None and self._is_open and (fault := serving.engine.fault()):
            raise RuntimeError(f"the engine is dead: {fault}")

    def _look_after_requests(self) -> None:
        if serving := self.serving:
            with suppress(redis.RedisError):  # the heartbeat, which comes next, tells it
                serving.drop_cancelled()
                serving.drop_orphans()

    def _count_tokens(self) -> None:
        """Those since the last time; a total that fell is that of another engine."""
        total = serving.engine.statistics().generated_tokens if (serving := self.serving) else 0
        new = total - self._counted_tokens if total >= self._counted_tokens else total
        if not new or traffic.tokens_generated(new):
            self._counted_tokens = total

    def _say(
        self, status: str, model: LanguageModel | None = None, progress: float | None = None, error: str = ""
    ) -> None:
        """Change what the heartbeat says, at once."""
        with self._saying:
            self._status, self._load = status, model.load_id if model else ""
            self._progress, self._error = progress, error
        self._write_heartbeat()

    def _write_heartbeat(self) -> None:
        with self._saying:  # so that none that was made before overwrites a later one
            self._write_heartbeat_now()

    def _write_heartbeat_now(self) -> None:
        serving = self.serving
        statistics = serving.engine.statistics() if serving else None
        heartbeat = stream.Heartbeat(
            worker=self.id,
            model=serving.model.name if serving else "",
            status=self._status,
            is_open=self._is_open,
            device=serving.device if serving else "",
            running=statistics.running if statistics else 0,
            waiting=statistics.waiting if statistics else 0,
            max_requests=statistics.max_requests if statistics else 0,
            generated_tokens=statistics.generated_tokens if statistics else 0,
            memory_bytes=psutil.Process().memory_info().rss,
            gpu_bytes=_gpu_bytes(serving.device) if serving else None,
            load=self._load,
            progress=self._progress,
            error=self._error,
            is_pinned=bool(settings.INFERENCE_MODEL),
        )
        try:
            stream.write_heartbeat(heartbeat)
        except redis.RedisError as error:  # the broker may come back; without it nobody reads heartbeats
            logger.warning("no heartbeat: %s", error)


def _give_up(why: str) -> None:
    """End this process as a failure, for whoever starts it again; what is running finishes first."""
    logger.exception("%s: it stops", why)
    state.should_stop = EX_FAILURE  # type: ignore[assignment]  # None or a status


def _gpu_bytes(device: str) -> int | None:
    return torch.cuda.memory_allocated(device) if device.startswith("cuda") else None


def _free_memory_of(model: "weakref.ref[torch.nn.Module]") -> None:
    """Free the memory of a model that was dropped; other threads, such as that of cancellations, may need a moment."""
    deadline = time.monotonic() + FREE_S
    _free_memory()
    while model() is not None:
        if time.monotonic() > deadline:
            logger.warning("the model that was unloaded is still in memory after %s s", FREE_S)
            return
        time.sleep(0.1)
        _free_memory()


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


_worker: Worker | None = None


def start(hostname: str) -> None:
    global _worker
    _worker = Worker(hostname)
    metrics.serve_engine(_worker.statistics)


def stop() -> None:
    global _worker
    if _worker is not None:
        _worker.close()
        _worker = None


def worker() -> Worker:
    """This process's worker; only an inference worker has one."""
    assert _worker is not None, "inference tasks run in an inference worker only"
    return _worker

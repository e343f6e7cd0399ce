"""A worker process: it follows the rows, which say what model it should serve, and reports its state by heartbeats."""

import logging
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import redis
from celery import current_app
from celery.platforms import EX_FAILURE
from celery.worker import state
from django.conf import settings
from django.db import connection
from pydantic import ValidationError

from inference import metrics
from inference.broker.events import report_failure
from inference.broker.heartbeats import clear_heartbeat
from inference.broker.messages import Message
from inference.engine.cores import compute_alone
from inference.interface import EngineStatistics
from inference.models import LanguageModel
from inference.outages import outage_of
from inference.worker.engines import engine
from inference.worker.expiry import Expiry
from inference.worker.files import Unwanted, fetch
from inference.worker.leases.threads import LeaseThreads
from inference.worker.memory import free_memory
from inference.worker.model_server import ModelServer
from inference.worker.saes.preparation import prepare_next
from inference.worker.servers import Servers
from inference.worker.status import WorkerStatus

logger = logging.getLogger(__name__)

FOLLOW_S = 0.5
REPLY_S = 5.0
SWITCH_S = 0.0002
"""The batch's thread asks for the interpreter's lock after each operator: by default it would wait 5 ms for it."""
ERROR_LENGTH = 2000  # characters in a heartbeat
SAE_JOBS = ("job-0", "job-1")  # so that a long download does not hold up a fingerprint

UNFIT = "The web and the worker are of versions that do not fit: the workers are upgraded before the web."
UNLOADED = "The model was unloaded, or loaded again, just now: try again."

M = TypeVar("M", bound=Message)


class Worker:
    """Serves the current model, or the one of INFERENCE_MODEL; follows a change of the rows within 2 seconds."""

    def __init__(self, hostname: str) -> None:
        compute_alone()
        sys.setswitchinterval(SWITCH_S)
        self.hostname = hostname
        # A restarted worker is another worker: a web that waits for the old one must see that it is gone.
        self.id = f"{hostname}:{uuid.uuid4().hex[:8]}"
        self.servers = Servers()
        self._status = WorkerStatus(self.id, lambda: self.servers.open)
        self._tried = ""  # the load that was begun last
        self._stopping, self._closed = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, name="follow", daemon=True),
            threading.Thread(target=self._beat, name="heartbeat", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._expiry = LeaseThreads(("expiry",), Expiry(), self._stopping)
        self._sae_jobs = LeaseThreads(SAE_JOBS if settings.INFERENCE_JOBS else (), prepare_next, self._stopping)

    def close(self) -> None:
        """Finish the running jobs, and end."""
        self._stopping.set()
        self._threads[0].join()
        self._drop(take_no_more=False)  # Celery has stopped taking tasks by now
        for threads in (self._sae_jobs, self._expiry):
            threads.join(timeout_s=1)
        self._closed.set()
        self._threads[1].join(timeout=5)
        clear_heartbeat(self.id)

    def statistics(self) -> EngineStatistics | None:
        """The statistics of its engine, None while no model is loaded."""
        server = self.servers.open
        return server.engine.statistics() if server else None

    def accept(self, kind: type[M], fields: Mapping[str, Any]) -> tuple[ModelServer, M] | None:
        """The message in `fields`, and the model server that answers it; None where the request fails.

        A web of another version may have written it: the worker must not leave out a field that it does not know. And
        a queue outlives a load: another model must not answer a request that waited there.
        """
        inbox, request_id = fields["inbox"], fields["request_id"]
        try:
            message = kind.parse(fields)
        except ValidationError as error:
            wrong = [".".join(map(str, one["loc"])) for one in error.errors(include_input=False, include_url=False)]
            logger.error("request %s failed: its message does not fit in %s", request_id, ", ".join(wrong))
            why = UNFIT
        else:
            if server := self.servers.of(message.version):
                return server, message
            why = UNLOADED
        report_failure(inbox, request_id, "no_worker", why)
        return None

    # --- following the rows ---

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._converge()
            except Exception as error:
                if outage_of(error) is None:
                    _give_up("this worker cannot follow the rows")
                    return
                logger.warning("the rows cannot be followed: %s", error)
            finally:
                connection.close()
            self._stopping.wait(FOLLOW_S)

    def _converge(self) -> None:
        self._end_leaving()  # of a switch that an outage ended
        wanted = self._wanted()
        wanted_id = wanted.load_id if wanted else ""
        if self.servers.load_id_of_coming not in ("", wanted_id):
            self._discard_coming()
        if wanted is not None and self.servers.load_id == wanted_id:
            self._tried = wanted_id
            # Redis was silent, or the load of another model failed or is not wanted any more
            if not self._status.is_open or self._status.status != "ready" or self.servers.coming:
                self._open(wanted)
            return
        if wanted is None:
            if any(self.servers):
                self._drop(take_no_more=True)
            self._tried = ""
            if self._status.status != "idle":
                self._status.change("idle")
        elif self._tried != wanted.load_id:  # a load that failed is tried again when a user asks for it again
            self._tried = wanted.load_id
            self._take_up(wanted)

    def _wanted(self) -> LanguageModel | None:
        if settings.INFERENCE_MODEL:
            row = LanguageModel.objects.filter(name=settings.INFERENCE_MODEL).first()
            # It is this worker's one model: without its row the worker has no other model to serve.
            return row or (self.servers.newest.model if self.servers.newest else None)
        return LanguageModel.objects.current()

    def _is_wanted(self, model: LanguageModel) -> bool:
        wanted = self._wanted()
        return wanted is not None and wanted.load_id == model.load_id and not self._stopping.is_set()

    def _take_up(self, model: LanguageModel) -> None:
        """Load the model and take its tasks.

        The model before is served until then where the memory holds both; otherwise until the files of the new one are
        here, and whole.
        """
        self._status.change("loading", model)
        if not self._succeeds(model, self._prepare):
            return
        if self.servers.open is not None and not engine().fits_beside(model, self.servers.open):
            self._tried = ""  # where Redis does not answer, all of this is done again
            self._drop(take_no_more=True)
            self._tried = model.load_id
            self._status.change("loading", model)
        if self._succeeds(model, self._bring_up):
            self._open(model)

    def _prepare(self, model: LanguageModel) -> None:
        model.local_path = fetch(
            model, lambda: self._is_wanted(model), lambda done: self._status.change("downloading", model, done)
        )
        self._status.change("loading", model)
        engine().prepare(model, self.servers.open)

    def _bring_up(self, model: LanguageModel) -> None:
        beside = f" beside {self.servers.open.model}" if self.servers.open else ""
        logger.info("loading %s from %s%s", model, model.local_path, beside)
        self.servers.coming = engine().server(self.id, model)
        if not self._is_wanted(model):
            self.servers.end_coming()
            raise Unwanted(f"{model} was loaded, and is not wanted any more")

    def _succeeds(self, model: LanguageModel, step: Callable[[LanguageModel], None]) -> bool:
        """Do a step of a load; the heartbeat reports an error. Raises the error of an outage."""
        failure = ""
        try:
            step(model)
        except Unwanted:
            self._tried = ""  # where the same load is wanted again, it is tried again
            logger.info("%s is not wanted any more", model)
        except Exception as error:
            if outage_of(error) is not None:
                self._tried = ""  # the model is not to blame: its load is tried again
                raise
            logger.exception("%s cannot be served", model)
            failure = f"{model.source} cannot be served: {error}"
        else:
            return True
        free_memory()  # not before: the error's frames hold what was loaded
        if failure:
            self._status.change("error", model, error=failure[:ERROR_LENGTH])
        return False

    def _open(self, model: LanguageModel) -> None:
        """Take the tasks of the loaded model, and report that. Raises RedisError: then it is to be tried again."""
        assert self.servers.newest is not None
        self.servers.newest.listen_for_cancellations()
        self._control_celery("add_consumer", model.queue)
        self.servers.take_over()
        self._status.is_open = True
        self._status.change("ready", model, 1.0)  # from now on webs send requests here
        logger.info("%s is ready", model)
        self._end_leaving()

    def _control_celery(self, command: str, queue: str) -> None:
        """Have this process's Celery take, or take no more, the tasks of a queue."""
        send = getattr(current_app.control, command)
        # Without a reply Celery's consumer is not up yet, or reconnects: it did not hear the command.
        while not send(queue, destination=[self.hostname], reply=True, timeout=REPLY_S):
            if self._stopping.is_set():
                return

    def _end_leaving(self) -> None:
        """Take no more tasks of the model before, let its jobs finish, free its memory."""
        if self.servers.leaving is not None and not self.servers.has_other(self.servers.leaving):
            self._control_celery("cancel_consumer", self.servers.leaving.model.queue)
        self.servers.end_leaving()

    def _discard_coming(self) -> None:
        """Drop a loaded model that is not wanted any more; an outage may have ended its opening half-way."""
        if self.servers.coming is not None and not self.servers.has_other(self.servers.coming):
            self._control_celery("cancel_consumer", self.servers.coming.model.queue)
        self.servers.end_coming()

    def _drop(self, *, take_no_more: bool) -> None:
        """Unload all models: take no more tasks of them, let their jobs finish, free their memory."""
        if take_no_more:
            self._status.status = "unloading"  # reported once other workers get the tasks
            for queue in {server.model.queue for server in self.servers}:
                self._control_celery("cancel_consumer", queue)
        self._status.is_open = False
        self._status.change("unloading")
        self.servers.end_all()

    # --- the heartbeat ---

    def _beat(self) -> None:
        """Write heartbeats until the worker is closed: while its jobs finish, the webs must see it alive."""
        try:
            while not self._closed.wait(settings.INFERENCE_HEARTBEAT_S):
                self._check_engine()
                self._drop_unread_jobs()
                self.servers.count_tokens()
                self._status.write()
        except Exception:
            _give_up("this worker cannot go on")

    def _check_engine(self) -> None:
        server = self.servers.open  # in no variable of the loop, which would keep an unloaded model in memory
        if server is not None and self._status.is_open and (fault := server.engine.fault()):
            raise RuntimeError(f"the engine is dead: {fault}")

    def _drop_unread_jobs(self) -> None:
        for server in self.servers:
            with suppress(redis.RedisError):  # the heartbeat comes next, and logs it
                server.jobs.drop_cancelled()
                server.jobs.drop_orphans()


def _give_up(why: str) -> None:
    """End this process as a failure once its jobs have finished; its supervisor starts it again."""
    logger.exception("%s: it stops", why)
    state.should_stop = EX_FAILURE  # type: ignore[assignment]  # None or a status


_worker: Worker | None = None


def start(hostname: str) -> None:
    """Start this process's worker; called once, by Celery."""
    global _worker
    _worker = Worker(hostname)
    metrics.serve_engine(_worker.statistics)


def stop() -> None:
    """End this process's worker, where it runs."""
    global _worker
    if _worker is not None:
        _worker.close()
        _worker = None


def worker() -> Worker:
    """This process's worker; a web has none."""
    assert _worker is not None, "inference tasks run in an inference worker only"
    return _worker

"""The jobs of a worker: how they are claimed, how their events go out, and what ends them besides the engine."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from inference.broker import claims
from inference.broker.claims import Claim
from inference.broker.events import alive_inboxes, report_failure, write_events
from inference.broker.heartbeats import silence_s
from inference.broker.messages import Message
from inference.interface import Event, EventsLost, GenerationError, TimedOut, WorkerLost
from inference.worker.consumer import acknowledge
from inference.worker.job import CHOICE, Job, choice_id, failure_of

logger = logging.getLogger(__name__)

ORPHAN_S = 5.0
"""A web process that is silent for this long is gone."""


class JobTable:
    """The running jobs of the worker `worker`; `cancel_choice` frees the place of a choice in the engine.

    Threads: the task of a job claims and ends it; the engine's listening thread reports events; the threads of
    heartbeats and of cancellations end jobs early.
    """

    def __init__(self, worker: str, cancel_choice: Callable[[str], None]) -> None:
        self._worker, self._cancel_choice = worker, cancel_choice
        self._jobs: dict[str, Job] = {}
        self._heard: dict[str, float] = {}  # when the web process of each inbox was alive last

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, request_id: str) -> Job:
        return self._jobs[request_id]

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._jobs

    # --- from claim to end, in the thread of the task ---

    def claim(self, message: Message, choices: int) -> Job | None:
        """Claim a request for this worker; None where nobody waits for it any more, or another worker has it."""
        ends_at = 0.0
        try:
            claim = claims.claim(message.request_id, self._worker)
            ends_at = time.monotonic() + message.deadline - claim.now
            claimed = self._accept(message, claim)
        except redis.RedisError:
            report_failure(message.inbox, message.request_id, EventsLost.code, str(EventsLost()))
            claimed = False
        if not claimed:
            return None
        job = self._jobs[message.request_id] = Job(message.request_id, message.inbox, choices, ends_at)
        return job

    def _accept(self, message: Message, claim: Claim) -> bool:
        """Tell the web of the claim; False where the request is dropped."""
        request_id = message.request_id
        if claim.is_cancelled:
            dropped = "cancelled before it began"
        elif claim.now > message.deadline:
            dropped = "too late"
            report_failure(message.inbox, request_id, TimedOut.code, str(TimedOut()))
        elif not claim.is_first:
            dropped = "another worker has it"
            if not claims.claimer_is_alive(request_id):  # the other worker died before it could report its claim
                report_failure(message.inbox, request_id, WorkerLost.code, str(WorkerLost(silence_s())))
        else:
            dropped = ""
        if dropped:
            logger.info("%s: dropped, %s", request_id, dropped)
            return False
        write_events([(message.inbox, Event(request_id, "claimed", {"worker": self._worker}))])
        acknowledge()
        return True

    @contextmanager
    def ending(self, job: Job) -> Iterator[None]:
        """End the job with the block; an exception of the block becomes the last event."""
        began, failure = time.perf_counter(), None
        try:
            yield
        except Exception as error:
            failure = failure_of(job.request_id, error)
        finally:
            outcome = failure[0] if failure else job.outcome()
            self.cancel(job.request_id)  # what is left of it: after its deadline, or the choices beside a failed one
            self._jobs.pop(job.request_id, None)
            logger.info("%s: %s in %.2f s", job.request_id, outcome, time.perf_counter() - began)
        if failure:
            report_failure(job.inbox, job.request_id, *failure)  # at last, since it waits while Redis is silent

    # --- events, in the listening thread of the engine ---

    def report(self, events: list[Event]) -> None:
        """Write the engine's events, which are of choices, as events of their requests, and end finished jobs."""
        written, ended = [], []
        for event in events:
            request_id, _, index = event.request_id.rpartition(CHOICE)
            job = self._jobs.get(request_id)
            if job is None or job.ended.is_set():
                continue  # nobody waits for it any more
            data = {**event.data, "index": int(index)}
            if event.kind == "started":
                data |= job.take_echo(int(index))
            of_request = Event(request_id, event.kind, data)
            if not job.holds(of_request):
                written.append((job, of_request))
            if event.kind == "failed":
                job.left, job.failed = 0, event.data["code"]
            elif event.is_last:
                job.left -= 1
            if job.left <= 0:
                ended.append(job)
        try:
            write_events([(job.inbox, event) for job, event in written])
        except redis.RedisError as error:  # an answer with a gap would be another answer: these jobs fail
            logger.error("%d events are lost: %s", len(written), error)
            for job, _event in written:
                job.end(EventsLost())
        for job in ended:
            job.ended.set()

    # --- ends that the engine does not report ---

    def cancel(self, request_id: str) -> None:
        """End a job of which nobody reads another event, and free its places in the engine."""
        if job := self._jobs.get(request_id):
            job.ended.set()
            for index in range(job.choices):
                self._cancel_choice(choice_id(request_id, index))

    def end_all(self, error: GenerationError) -> None:
        """Fail all jobs with `error`."""
        for job in [*self._jobs.values()]:
            job.end(error)

    def drop_cancelled(self) -> None:
        """Cancel the jobs whose cancellation came while the subscription reconnected. Raises RedisError."""
        for request_id in claims.cancelled_among([*self._jobs]):
            self.cancel(request_id)

    def drop_orphans(self) -> None:
        """End the jobs of web processes that are gone, since nobody reads their answers. Raises RedisError.

        A web process that was only suspended reads the failure.
        """
        now, inboxes = time.monotonic(), {job.inbox for job in [*self._jobs.values()]}
        alive = alive_inboxes(inboxes)
        self._heard = {inbox: now if inbox in alive else self._heard.get(inbox, now) for inbox in inboxes}
        for request_id, job in [*self._jobs.items()]:
            if now - self._heard.get(job.inbox, now) > ORPHAN_S:
                logger.warning("%s: its web process is gone", request_id)
                job.end(EventsLost())

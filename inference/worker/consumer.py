"""Celery's consumer, which reconnects to Redis soon and drops malformed messages."""

import logging
from collections.abc import Callable
from typing import Any

from celery import current_task
from celery.worker import state
from celery.worker.consumer import Consumer

logger = logging.getLogger(__name__)

RECONNECT_S = 1


def acknowledge() -> None:
    """Acknowledge the running task: no other worker gets it, should this worker die.

    For tasks with `acks_late`, which Celery acknowledges when they have ended: no task must begin twice. A task that
    was acknowledged before the web knew of its worker would be lost with the worker.
    """
    if current_task and (request := state.requests.get(str(current_task.request.id))):
        request.acknowledge()


MALFORMED = (TypeError, ValueError, LookupError, AttributeError)


class PatientConsumer(Consumer):
    """Reconnects every second, as long as Redis does not answer: Celery's own waits grow to 30 s, and it gives up."""

    connection_errors: tuple[type[Exception], ...]

    def ensure_connected(self, conn: Any) -> Any:
        """Connect `conn` and return it. Ends when the worker is asked to stop."""

        def failed(error: Exception, _wait_s: float) -> None:
            logger.warning("no tasks are taken, Redis does not answer: %s", error)

        conn.ensure_connection(
            failed, interval_start=RECONNECT_S, interval_step=0, interval_max=RECONNECT_S, callback=state.maybe_shutdown
        )
        self.first_connection_attempt = False
        return conn

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's handler, which drops messages that Celery cannot read: each worker that took one would die."""
        take = super().create_task_handler(*args, **kwargs)

        def take_or_drop(message: Any) -> Any:
            try:
                return take(message)
            except MALFORMED as error:
                logger.error("a message of the broker was dropped: %s: %s", type(error).__name__, error)
                return message.ack_log_error(logger, self.connection_errors)

        return take_or_drop

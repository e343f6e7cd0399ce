"""Celery's consumer, whose waits for a broker that is away stay short."""

import logging
from collections.abc import Callable
from typing import Any

from celery import current_task
from celery.worker import state
from celery.worker.consumer import Consumer

logger = logging.getLogger(__name__)

RECONNECT_S = 1


def acknowledge() -> None:
    """Tell the broker that the running task need not be given to another worker, were this one to die of it.

    For tasks with `acks_late`, which Celery acknowledges when they have ended: these must not be begun twice, but
    one that is acknowledged before anybody has heard of its worker would be lost with it.
    """
    if current_task and (request := state.requests.get(str(current_task.request.id))):
        request.acknowledge()


MALFORMED = (TypeError, ValueError, LookupError, AttributeError)


class PatientConsumer(Consumer):
    """Reconnects every second, however long the broker is away: Celery's waits grow to 30 s, and it gives up."""

    connection_errors: tuple[type[Exception], ...]

    def ensure_connected(self, conn: Any) -> Any:
        """`conn`, connected. Ends when the worker is told to stop."""

        def told(error: Exception, _wait_s: float) -> None:
            logger.warning("no tasks are taken, Redis does not answer: %s", error)

        conn.ensure_connection(
            told, interval_start=RECONNECT_S, interval_step=0, interval_max=RECONNECT_S, callback=state.maybe_shutdown
        )
        self.first_connection_attempt = False
        return conn

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Celery's own, that drops what is in no form of Celery's: one worker after the other would die of it."""
        take = super().create_task_handler(*args, **kwargs)

        def take_or_drop(message: Any) -> Any:
            try:
                return take(message)
            except MALFORMED as error:
                logger.error("a message of the broker was dropped: %s: %s", type(error).__name__, error)
                return message.ack_log_error(logger, self.connection_errors)

        return take_or_drop

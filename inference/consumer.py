"""Celery's consumer, whose waits for a broker that is away stay short."""

import logging
from typing import Any

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

logger = logging.getLogger(__name__)

RECONNECT_S = 1


class PatientConsumer(Consumer):
    """Reconnects every second, however long the broker is away: Celery's waits grow to 30 s, and it gives up."""

    def ensure_connected(self, conn: Any) -> Any:
        """`conn`, connected. Ends when the worker is told to stop."""

        def told(error: Exception, _wait_s: float) -> None:
            logger.warning("no tasks are taken, Redis does not answer: %s", error)

        conn.ensure_connection(
            told, interval_start=RECONNECT_S, interval_step=0, interval_max=RECONNECT_S, callback=maybe_shutdown
        )
        self.first_connection_attempt = False
        return conn

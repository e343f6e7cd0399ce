"""The one rule by which web and worker tell an outage of PostgreSQL or Redis from a fault of ours."""

from dataclasses import dataclass

from django.conf import settings
from django.db import InterfaceError, OperationalError
from kombu.exceptions import OperationalError as BrokerError
from redis import RedisError
from redis.exceptions import OutOfMemoryError

# By the SQLSTATE of the error, or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
CONNECTION = ("08", "57P", "53")  # lost, shutting down, out of connections, memory or disk
BUSY = ("40", "55P03")  # a deadlock, or a lock that another transaction holds
DISK_FULL = "53100"
CANCELLED = "57014"


@dataclass(frozen=True)
class Outage:
    """A service that did not do its part; `message` is for clients."""

    service: str
    code: str
    message: str


REDIS = Outage("Redis", "broker_unavailable", "Redis does not answer: try again in a moment.")
FULL = Outage("Redis", "broker_full", "Redis has no memory left for more requests: try again later.")
POSTGRESQL = Outage("PostgreSQL", "database_unavailable", "PostgreSQL does not answer: try again in a moment.")
NO_ROOM = Outage(
    "PostgreSQL",
    "database_full",
    "PostgreSQL's disk is full: nothing was changed. Try again when there is room; requests that only read work.",
)
LOCKED = Outage("PostgreSQL", "database_busy", "Another change of the same rows is in progress: try again in a moment.")


def outage_of(error: BaseException) -> Outage | None:
    """The outage behind `error`; None where it is another error, such as a wrong query."""
    if isinstance(error, OutOfMemoryError):
        return FULL
    if isinstance(error, RedisError | BrokerError | ConnectionError):  # Celery's control raises the last
        return REDIS
    if not isinstance(error, OperationalError | InterfaceError):
        return None
    state = getattr(error.__cause__, "sqlstate", None) or ""  # none where no connection was made
    if state == CANCELLED:
        message = (
            f"PostgreSQL gave up after {settings.DATABASE_STATEMENT_TIMEOUT_S} seconds: ask for less in one request."
        )
        return Outage("PostgreSQL", "statement_timeout", message)
    if state == DISK_FULL:
        return NO_ROOM
    if state.startswith(BUSY):
        return LOCKED
    return POSTGRESQL if not state or state.startswith(CONNECTION) else None

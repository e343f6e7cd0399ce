"""Refusals: errors that have a code and an HTTP status, which the admin, REST, /v1 and commands show to users.

SteeringError
├── InvalidSteering         400  strengths that are not {feature index: finite number}
├── NoSAEAttached           409
├── NothingToCancel         409  the load or download has ended
├── NoSuchVersion           404
├── StaleSteering           409  the live steering was changed meanwhile
├── SteeringUnavailable     409  the requested steering is not possible now
└── others beside the code that raises them: `formats`, `hub.errors`, `hub.sources`, `architectures`, `saes`, `labels`
"""

from copy import copy
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rest_framework.response import Response


class SteeringError(Exception):
    """Error: a request broke a rule, and nothing was changed. `status` is the HTTP status of the answer."""

    code = "steering_error"
    status = 400

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details

    def at(self, path: str) -> Self:
        """A copy of this error for a part of a larger object: its message and its `field` start with `path`."""
        error = copy(self)
        error.args = (f"{path}.{self}",)
        error.details = {**self.details, "field": f"{path}.{self.details.get('field', '')}".rstrip(".")}
        return error


class InvalidSteering(SteeringError):
    """Error: strengths are not {feature index: finite number}; `field` names the first bad entry."""

    code = "invalid_steering"

    def __init__(self, message: str, field: str = "steering") -> None:
        super().__init__(f"{field}: {message}", field=field)


class NoSAEAttached(SteeringError):
    code = "no_sae_attached"
    status = 409


class NothingToCancel(SteeringError):
    """Error: the load or download to cancel has already ended."""

    code = "nothing_to_cancel"
    status = 409


class NoSuchVersion(SteeringError):
    code = "no_such_version"
    status = 404


class StaleSteering(SteeringError):
    """Error: the live steering was changed after the user saw it."""

    code = "stale_steering"
    status = 409


class SteeringUnavailable(SteeringError):
    """Error: the requested steering is not possible now. The request is refused, never answered unsteered."""

    code = "steering_unavailable"
    status = 409


def exception_handler(error: Exception, context: dict[str, Any]) -> "Response | None":
    """DRF's exception handler; a SteeringError is answered with its status and `{"detail", "code", …details}`."""
    # DRF needs a configured Django, and this module is imported without one.
    from rest_framework.response import Response
    from rest_framework.views import exception_handler as drf_exception_handler

    if isinstance(error, SteeringError):
        return Response({"detail": str(error), "code": error.code, **error.details}, status=error.status)
    return drf_exception_handler(error, context)

"""The base of all refusals, and those of the live steering. Others live in the module that raises them."""

from copy import copy
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rest_framework.response import Response


class Refused(Exception):
    """A change or a request that is refused, and nothing was changed: a broken rule, a full disk, an unreachable hub.

    `code` is for programs, `status` is the HTTP status, `details` are further fields of the JSON answer.
    """

    code = "refused"
    status = 400

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details

    def at(self, path: str) -> Self:
        """A copy for a part of a document: the message and `field` begin with `path`."""
        error = copy(self)
        error.args = (f"{path}.{self}",)
        error.details = {**self.details, "field": f"{path}.{self.details.get('field', '')}".rstrip(".")}
        return error


class InvalidSteering(Refused):
    """Strengths that are not {feature index: finite number}; `field` names the first bad one."""

    code = "invalid_steering"

    def __init__(self, message: str, field: str = "steering") -> None:
        super().__init__(f"{field}: {message}", field=field)


class NoSAEAttached(Refused):
    """A change that needs the attached SAE, and no SAE is attached."""

    code = "no_sae_attached"
    status = 409


class NothingToCancel(Refused):
    """A load or a download that has already ended."""

    code = "nothing_to_cancel"
    status = 409


class NoSuchVersion(Refused):
    """A version that is not in the history."""

    code = "no_such_version"
    status = 404


class StaleSteering(Refused):
    """A change that was decided on another version of the live steering than the current one."""

    code = "stale_steering"
    status = 409


class SteeringUnavailable(Refused):
    """A request whose steering cannot be applied: it is refused, never answered unsteered."""

    code = "steering_unavailable"
    status = 409


def exception_handler(error: Exception, context: dict[str, Any]) -> "Response | None":
    """The answer `{"detail", "code", …details}` to a Refused, with its status; DRF's answer to any other error."""
    # Not at the top: DRF needs Django's settings, and the engine imports this module without them.
    from rest_framework.response import Response
    from rest_framework.views import exception_handler as drf_exception_handler

    if isinstance(error, Refused):
        headers = {"Retry-After": "1"} if error.status in {429, 503} else {}
        return Response({"detail": str(error), "code": error.code, **error.details}, error.status, headers=headers)
    return drf_exception_handler(error, context)

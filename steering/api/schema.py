"""The OpenAPI schema: adds the shapes of errors to every endpoint."""

import re
from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiResponse

ERROR = {
    "type": "object",
    "description": "An error. Further fields name the field, the value got and the value expected.",
    "properties": {"detail": {"type": "string"}, "code": {"type": "string"}},
    "required": ["detail"],
    "additionalProperties": True,
}
FIELD_ERRORS = {
    "type": "object",
    "description": "For each wrong field, a list of messages.",
    "additionalProperties": True,
}
# An example of each status. The shapes are DRF's and those of `steering.errors.exception_handler`.
EXAMPLES: dict[int, tuple[str, dict[str, Any]]] = {
    400: (
        "The request is wrong; nothing was changed",
        {"detail": "steering.3: got True, expected a finite number", "code": "invalid_steering", "field": "steering.3"},
    ),
    401: ("The API key or session is missing or wrong", {"detail": "Incorrect API key provided."}),
    403: (
        "The key's user lacks a permission",
        {"detail": "You do not have permission to perform this action."},
    ),
    404: ("Not found", {"detail": "No profile prof_x.", "code": "profile_not_found"}),
    405: ("This path has no such method", {"detail": 'Method "PUT" not allowed.'}),
    406: ("The answer is not available in this format", {"detail": "Could not satisfy the request Accept header."}),
    409: (
        "The request conflicts with the current state; nothing was changed",
        {
            "detail": "profile 'ocean' does not fit: the attached SAE is at layer 2, and it is for layer 7",
            "code": "profile_incompatible",
            "differences": [{"field": "layer", "got": 7, "expected": 2}],
        },
    ),
    412: (
        "The profile was changed after the ETag in If-Match was read",
        {"detail": "The profile was changed since: read it again.", "code": "precondition_failed"},
    ),
    429: (
        "The key's request limit of this minute is reached; Retry-After gives the seconds to wait",
        {"detail": "This API key may make 60 requests a minute. Expected available in 12 seconds."},
    ),
    502: (
        "The hub's download stopped, or brought other bytes than listed",
        {"detail": "org/name: the download stopped: try again.", "code": "broken_download"},
    ),
    507: ("The disk is full", {"detail": "The download needs 5 GB, 1 GB is free.", "code": "disk_full"}),
    503: (
        "A part of this server, or the hub, is unavailable",
        {"detail": "The hub is unavailable.", "code": "hub_unreachable"},
    ),
    415: ("The body is not JSON", {"detail": 'Unsupported media type "text/plain" in request.'}),
}


def answer_example(value: Any, name: str = "example") -> list[OpenApiExample]:
    """An example of an answer."""
    return [OpenApiExample(name, value, response_only=True, status_codes=["200", "201", "202"])]


def request_example(value: Any, name: str = "example") -> list[OpenApiExample]:
    """An example of a request."""
    return [OpenApiExample(name, value, request_only=True)]


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """The error answers of these statuses, for `extend_schema(responses=…)`."""
    return {status: _error(status) for status in statuses}


def _error(status: int) -> OpenApiResponse:
    description, example = EXAMPLES[status]
    shape: dict[str, Any] = {"anyOf": [ERROR, FIELD_ERRORS]} if status == 400 else ERROR
    return OpenApiResponse(shape, description, examples=[OpenApiExample(f"{status}", example)])


class Schema(AutoSchema):
    """Adds a summary from the description, and the errors that every endpoint can answer with."""

    def get_summary(self) -> str | None:
        """The summary of `extend_schema`, else the first sentence of the description, up to its first colon."""
        given: str | None = super().get_summary()
        return given or re.split(r"[.:;]\s", f"{self.get_description()} ")[0].strip() or None

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        common = [401, 403, 405, 406, 429, *([415] if self.method in {"POST", "PUT", "PATCH"} else [])]
        for status, response in errors(*common).items():
            bodies.setdefault(str(status), self._get_response_for_code(response, str(status)))  # type: ignore[no-untyped-call]
        return bodies

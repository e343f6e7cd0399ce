"""The OpenAPI schema: the shapes of errors, which every endpoint can answer with."""

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiResponse

ERROR = {
    "type": "object",
    "description": "What went wrong. The names beside `detail` and `code` say where, and what was got and expected.",
    "properties": {"detail": {"type": "string"}, "code": {"type": "string"}},
    "required": ["detail"],
    "additionalProperties": True,
}
FIELD_ERRORS = {
    "type": "object",
    "description": "For each field that is wrong, what is wrong with it.",
    "additionalProperties": True,
}
# What an error of each status may look like. Shapes: DRF's own, and `steering.errors.exception_handler`.
EXAMPLES: dict[int, tuple[str, dict[str, Any]]] = {
    400: (
        "Something in the request is wrong, and nothing was changed",
        {"detail": "steering.3: got True, expected a finite number", "code": "invalid_steering", "field": "steering.3"},
    ),
    401: ("No API key and no session, or a wrong one", {"detail": "Incorrect API key provided."}),
    403: (
        "The key's user lacks a permission",
        {"detail": "You do not have permission to perform this action."},
    ),
    404: ("There is no such thing", {"detail": "No profile prof_x.", "code": "profile_not_found"}),
    405: ("The path is another endpoint's, with other methods", {"detail": 'Method "PUT" not allowed.'}),
    406: ("The answer cannot be had in that form", {"detail": "Could not satisfy the request Accept header."}),
    409: (
        "It does not fit what is here now, and nothing was changed",
        {
            "detail": "profile 'ocean' does not fit: layer is 7, expected 2",
            "code": "profile_incompatible",
            "differences": [{"field": "layer", "got": 7, "expected": 2}],
        },
    ),
    412: (
        "The profile was changed since the ETag in If-Match was given",
        {"detail": "The profile is another than If-Match says: read it again.", "code": "precondition_failed"},
    ),
    429: (
        "The key's requests of this minute are used up; Retry-After says when to come back",
        {"detail": "This API key may make 60 requests a minute. Expected available in 12 seconds."},
    ),
    502: (
        "The hub broke off, or sent other bytes than it promised",
        {"detail": "org/name: the download stopped: try again.", "code": "broken_download"},
    ),
    507: ("The disk is full", {"detail": "The download needs 5 GB, 1 GB is free.", "code": "disk_full"}),
    503: ("A part of this server, or the hub, is away", {"detail": "The hub is away.", "code": "hub_unreachable"}),
    415: ("The body is not JSON", {"detail": 'Unsupported media type "text/plain" in request.'}),
}


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """The answers of these statuses, for `extend_schema(responses=…)`."""
    return {status: _error(status) for status in statuses}


def _error(status: int) -> OpenApiResponse:
    description, example = EXAMPLES[status]
    shape: dict[str, Any] = {"anyOf": [ERROR, FIELD_ERRORS]} if status == 400 else ERROR
    return OpenApiResponse(shape, description, examples=[OpenApiExample(f"{status}", example)])


class Schema(AutoSchema):
    """Adds the errors that every endpoint can answer with."""

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> Any:
        bodies = super()._get_response_bodies(direction)
        common = [401, 403, 405, 406, 429, *([415] if self.method in {"POST", "PUT", "PATCH"} else [])]
        for status, response in errors(*common).items():
            bodies.setdefault(str(status), self._get_response_for_code(response, str(status)))  # type: ignore[no-untyped-call]
        return bodies

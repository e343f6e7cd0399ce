"""Errors in OpenAI's shape: `{"error": {message, type, param, code}}`."""

import math
from collections.abc import Sequence
from typing import Any, Self

from django.http import JsonResponse

from inference.broker.errors import RequestFailed
from steering.errors import Refused

RETRY_AFTER_S = 1


class OpenAIError(Exception):
    """An error that a client of /v1 sees."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        allow: Sequence[str] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.allow = status, message, code, param, allow
        self.retry_after_s = RETRY_AFTER_S if retry_after_s is None else math.ceil(retry_after_s)

    @classmethod
    def from_failure(cls, error: RequestFailed) -> Self:
        """The error of a request that no worker answered to its end."""
        return cls(error.status, str(error), code=error.code, param=error.param)

    @classmethod
    def from_steering(cls, error: Refused, param: str) -> Self:
        """The error of a request that breaks a rule about profiles, models or SAEs."""
        return cls(error.status, str(error), code=error.code, param=error.details.get("field") or param)

    @property
    def type(self) -> str:
        if self.status == 401:
            return "authentication_error"
        if self.status == 403:
            return "permission_error"
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> JsonResponse:
        response = JsonResponse(self.body(), status=self.status)
        if self.status == 401:
            response["WWW-Authenticate"] = "Bearer"
        if self.status == 405:
            response["Allow"] = ", ".join(self.allow)
        if self.status in {429, 503}:
            response["Retry-After"] = str(self.retry_after_s)
        return response

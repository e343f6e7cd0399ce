"""The error of a request that a worker did not answer to its end."""

from collections.abc import Mapping
from typing import Any, Self


class RequestFailed(Exception):
    """A request that is refused, or ends early.

    `code` is for programs, the message for people; `param` is the field of the request that is to blame, if one is.
    `inference.openai.errors` has the HTTP status of each code.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param

    @classmethod
    def from_event(cls, data: Mapping[str, Any]) -> Self:
        """The error of a `failed` event with this data."""
        return cls(data["code"], data["message"], data.get("param"))

"""JSON that loses nothing: a key given twice, NaN and infinity are errors, not the last one, a number, a number."""

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError that says what is wrong."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice in one object")
    return made


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "request_too_large"


class StrictJSONParser(BaseParser):
    """DRF's parser of request bodies, by `loads`."""

    media_type = "application/json"
    renderer_class = JSONRenderer  # for the browsable API's form of raw data

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # which Django enforces where it reads a body, and DRF does not
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise BodyTooLarge(f"The body is larger than the {limit} bytes that this server takes.")
        try:
            return loads(body)
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from error

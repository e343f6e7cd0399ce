"""JSON that loses nothing: a key given twice, NaN, infinity and half a surrogate pair are errors."""

import json
import re
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

# Where none of this is, no string holds half a pair, which neither PostgreSQL nor an answer takes.
MAYBE_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError that says what is wrong."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text))  # `json.loads` would let half a pair pass
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        if MAYBE_HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"a string has {half!r}, half of a surrogate pair: it is no character") from None
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise ValueError(f"the key {key!r:.100} is given twice in one object")
        made[key] = value
    return made


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class StrictJSONParser(BaseParser):
    """DRF's parser of request bodies, by `loads`."""

    media_type = "application/json"
    renderer_class = JSONRenderer  # for the browsable API's form of raw data

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return loads(stream.read())
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from error

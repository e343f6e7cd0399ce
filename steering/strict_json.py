"""Strict JSON: duplicate keys, NaN, Infinity and unpaired surrogates are errors."""

import json
import re
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

# A text without a match has no unpaired surrogate, which neither PostgreSQL nor an HTTP answer can hold.
MAYBE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")

FAULTS = {
    "Expecting property name": "expected a key in double quotes",
    "Expecting value": "expected a value",
    "Expecting ',' delimiter": "expected a comma, or the end of the list or object",
    "Expecting ':' delimiter": "expected a colon after the key",
    "Extra data": "expected the end of the text",
    "Unterminated string": "the string has no end",
    "Invalid control character": "the string has a control character: write it as an escape, such as \\n",
    "Invalid \\": "the string has an escape that JSON does not know",
    "Illegal trailing comma": "expected a value after the comma",
}
"""{the beginning of a message of Python: ours}."""


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, whose message names the fault."""
    if isinstance(text, bytes):
        text = _decoded(text)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
        if MAYBE_SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        raise ValueError(f"{_place(error)}: {told(error)}") from None
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"a string contains {half!r}, half of a surrogate pair, which is not a character") from None
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _decoded(text: bytes) -> str:
    """The text; `json.loads` would accept encoded surrogates. Raises ValueError."""
    encoding = json.detect_encoding(text)
    try:
        return text.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not {encoding.upper()}: send the text as UTF-8") from None


def told(error: json.JSONDecodeError) -> str:
    """The fault in the words of this project."""
    return next((words for said, words in FAULTS.items() if error.msg.startswith(said)), error.msg)


def _place(error: json.JSONDecodeError) -> str:
    return f"line {error.lineno}, column {error.colno}" if "\n" in error.doc else f"character {error.colno}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r:.100} is given twice in one object")
        result[key] = value
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class StrictJSONParser(BaseParser):
    """DRF's parser of request bodies. It parses them with `loads`."""

    media_type = "application/json"
    renderer_class = JSONRenderer  # the browsable API asks for it, for its form of raw data

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return loads(stream.read())
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}") from error

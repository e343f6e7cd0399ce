"""JSON that loses nothing: a key given twice, NaN and infinity are errors, not the last one, a number, a number."""

import json
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError that says what is wrong."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
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

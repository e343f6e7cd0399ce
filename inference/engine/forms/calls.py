"""Calls of functions, read from what a form takes for calls."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

BETWEEN = re.compile(r"[\s;,]*")
"""What stands between two calls in a text of JSON: Llama 3 writes semicolons."""


@dataclass(frozen=True)
class Call:
    """A call of a function; `arguments` are JSON text of an object."""

    name: str
    arguments: str


def calls_in(value: Any) -> list[Call]:
    """The calls in `value`: JSON text, or the objects that a `response_template` makes. Empty where any is broken."""
    try:
        return [_call(one) for one in _flat(value)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _flat(value: Any) -> Iterator[Any]:
    """The single calls of lists and texts."""
    if isinstance(value, str):
        for one in _json_values(value):
            yield from one if isinstance(one, list) else [one]
    elif isinstance(value, list):
        yield from value
    else:
        yield value


def _json_values(text: str) -> Iterator[Any]:
    """The JSON values in `text`, one after another. Raises ValueError on anything else."""
    decoder, at = json.JSONDecoder(), BETWEEN.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at = BETWEEN.match(text, at).end()  # type: ignore[union-attr]


def _call(given: Any) -> Call:
    """Raises ValueError, TypeError or KeyError where `given` is no call."""
    function: Mapping[str, Any] = given.get("function", given) if isinstance(given, dict) else {}
    if not isinstance(function, dict):  # Llama 3 may write {"type": "function", "name": …}
        function = given
    name, arguments = function["name"], function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not (isinstance(name, str) and isinstance(arguments, dict)):
        raise TypeError("expected a name and an object of arguments")
    return Call(name, _json_text(arguments))


def _json_text(arguments: Mapping[str, Any]) -> str:
    """JSON text that can be written as UTF-8. Raises ValueError for NaN and infinity."""
    text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
        return json.dumps(arguments, allow_nan=False)
    return text

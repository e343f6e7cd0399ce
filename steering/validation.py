"""Errors of values in the words of this project: pydantic's errors, and the names of JSON's types."""

from collections.abc import Iterable
from typing import Any

from pydantic_core import ErrorDetails

EXPECTED = {
    "string_type": "a string",
    "string_unicode": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "a string that is not empty",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "a string that matches {pattern}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
"""{type of an error: the expected value}."""
OTHERS = {
    "missing": "this field is missing",
    "extra_forbidden": "this field is unknown",
    "too_short": "got {actual_length} entries, expected at least {min_length}",
    "too_long": "got {actual_length} entries, expected at most {max_length}",
    "union_tag_invalid": "got {tag!r} as {discriminator}, expected one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
    "json_invalid": "this is not JSON: {error}",
    "value_error": "{error}",
}
"""{type of an error: the whole message}."""


NAMES: dict[Any, str] = {
    list: "a list",
    dict: "an object",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
}


def name_of(value: Any) -> str:
    """The type of a value in the words of JSON, with its article."""
    return "null" if value is None else NAMES.get(type(value), type(value).__name__)


def in_words(details: Iterable[ErrorDetails]) -> str:
    """One message on the errors of one value, which are those of a union's members; without its field."""
    found = list(details)
    expected = dict.fromkeys(_filled(EXPECTED[one["type"]], one) for one in found if one["type"] in EXPECTED)
    other = dict.fromkeys(
        _filled(OTHERS[one["type"]], one) if one["type"] in OTHERS else one["msg"]
        for one in found
        if one["type"] not in EXPECTED
    )
    if other:  # of a union, the member whose type was right
        return " or ".join(other)
    return f"expected {' or '.join(expected)}"


def _filled(template: str, detail: ErrorDetails) -> str:
    values = {
        name: f"{value:g}" if isinstance(value, float) else value for name, value in detail.get("ctx", {}).items()
    }
    return template.format(**values)

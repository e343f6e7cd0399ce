"""What is wrong with the body of a request, in words for whoever sent it."""

import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from inference.openai.errors import OpenAIError

# Of a union pydantic names the member too, as `str` or `list[…]`: that is no field.
FIELD = re.compile(r"(?!str\Z|int\Z)[\w-]+\Z")
SHOWN = 80


def as_openai_error(error: ValidationError) -> OpenAIError:
    """A 400 that names the first field that is wrong, what was got and what is expected."""
    details = error.errors(include_url=False, include_context=False)
    first = _field(details[0])
    # Of a union there is an error for each member: the one that came furthest is of the member that was meant.
    same = [one for one in details if _field(one)[: len(first)] == first] if _is_of_union(details[0]) else details[:1]
    deepest = max(len(_field(one)) for one in same)
    best = [one for one in same if len(_field(one)) == deepest]
    param = ".".join(_field(best[0])) or None
    told = " or ".join(dict.fromkeys(one["msg"] for one in best if _field(one) == _field(best[0])))
    where = f"{param}: " if param else "The body: "
    return OpenAIError(400, where + told + _got(best[0]), param=param, code="invalid_request")


def _field(detail: ErrorDetails) -> list[str]:
    return [str(part) for part in detail["loc"] if _is_field(part)]


def _is_field(part: int | str) -> bool:
    return isinstance(part, int) or bool(FIELD.match(part))


def _is_of_union(detail: ErrorDetails) -> bool:
    return not all(map(_is_field, detail["loc"]))


def _got(detail: ErrorDetails) -> str:
    """The value that was got, where it is short and not told yet."""
    value: Any = detail["input"]
    if detail["type"] in {"value_error", "missing", "json_invalid"} or not isinstance(value, str | int | float):
        return ""
    shown = repr(value)
    return "" if len(shown) > SHOWN or shown in detail["msg"] else f", got {shown}"

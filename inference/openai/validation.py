"""From pydantic's errors to a message for the sender of a wrong body."""

import json
import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from inference.openai.errors import OpenAIError
from steering.validation import OTHERS, in_words

# pydantic names the member of a union too, as `str` or `list[…]`: that is no field.
FIELD = re.compile(r"(?!str\Z|int\Z)[\w-]+\Z")
SHOWN = 80


def as_openai_error(error: ValidationError) -> OpenAIError:
    """A 400 that names the first wrong field, what was got and what is expected."""
    first, *others = error.errors(include_url=False)
    # A union has errors of each member, also of unions in them: the sender meant the member that was read furthest.
    members = {_member(first): first}
    for one in others:
        if _member(first) and _member(one) and _union(one) == _union(first):
            members.setdefault(_member(one), one)
    furthest = max(map(_place, members.values()))
    best = [one for one in members.values() if _place(one) == furthest]
    param = ".".join(map(str, _field(best[0]))) or None
    wrong = in_words(best)
    where = f"{param}: " if param else "The body: "
    return OpenAIError(400, where + wrong + _got(best[0], wrong), param=param, code="invalid_request")


def _field(detail: ErrorDetails) -> list[int | str]:
    return [part for part in detail["loc"] if _is_field(part)]


def _member(detail: ErrorDetails) -> tuple[int | str, ...]:
    """The location of the union's member that the error is about, the innermost one; empty outside of unions."""
    labels = _labels(detail)
    return detail["loc"][: labels[-1] + 1] if labels else ()


def _union(detail: ErrorDetails) -> tuple[int | str, ...]:
    """The location of the outermost union."""
    labels = _labels(detail)
    return detail["loc"][: labels[0]] if labels else ()


def _labels(detail: ErrorDetails) -> list[int]:
    """The places of members of unions in a location."""
    return [at for at, part in enumerate(detail["loc"]) if not _is_field(part)]


def _place(detail: ErrorDetails) -> tuple[int, list[int]]:
    field = _field(detail)
    return len(field), [part for part in field if isinstance(part, int)]


def _is_field(part: int | str) -> bool:
    return isinstance(part, int) or bool(FIELD.match(part))


def _got(detail: ErrorDetails, message: str) -> str:
    """The value that was got, where it is short and the message lacks it."""
    value: Any = detail["input"]
    if detail["type"] in OTHERS or not isinstance(value, str | int | float):
        return ""
    shown = json.dumps(value) if isinstance(value, bool) else repr(value)
    return "" if len(shown) > SHOWN or shown in message else f", got {shown}"

"""Environment variables, read strictly: a wrong value stops the start, and says which, what it is and what is expected.

Each can also come from a file, named by the variable with `_FILE` at its end, as Docker and Kubernetes mount secrets.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
env = environ.FileAwareEnv()

TRUE, FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def text(name: str, default: str = "") -> str:
    value: str = env.str(name, default=default)
    return value.strip() or default


def words(name: str, default: Iterable[str] = ()) -> list[str]:
    """Words between commas."""
    given = text(name, ",".join(default))
    return [word.strip() for word in given.split(",") if word.strip()]


def boolean(name: str, default: bool) -> bool:
    given = text(name).lower()
    if not given:
        return default
    if given not in TRUE | FALSE:
        raise wrong(name, given, "true or false")
    return given in TRUE


def positive_int(name: str, default: int) -> int:
    return _number(name, default, int, "a whole number above 0")


def port(name: str, default: int) -> int:
    """A TCP port; 0 is none."""
    given = text(name, str(default))
    if not given.isdecimal() or int(given) > 65535:
        raise wrong(name, given, "a number from 0 to 65535")
    return int(given)


def positive_float(name: str, default: float) -> float:
    return _number(name, default, float, "a number above 0")


def one_of(name: str, default: str, choices: Iterable[str]) -> str:
    given, allowed = text(name, default), list(choices)
    if given not in allowed:
        raise wrong(name, given, "one of " + ", ".join(allowed))
    return given


def url(name: str, value: str, schemes: Iterable[str]) -> str:
    """`value`, which the variable `name` gave."""
    allowed = list(schemes)
    if urlsplit(value).scheme not in allowed:
        # Without what may be a password.
        raise wrong(
            name, value.split("://")[0] + "://…", "a URL that begins with " + " or ".join(f"{s}://" for s in allowed)
        )
    return value


def optional_url(name: str, schemes: Iterable[str]) -> str:
    given = text(name)
    return url(name, given, schemes) if given else ""


def origins(name: str) -> list[str]:
    """Origins between commas, with scheme and without a path."""
    given = words(name)
    for one in given:
        parts = urlsplit(one)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
            raise wrong(name, one, "an origin such as https://chat.example.org")
    return given


def wrong(name: str, got: object, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} is {got!r}: expected {expected}")


def _number(name: str, default: T, kind: Callable[[Any], T], expected: str) -> T:
    given = text(name)
    if not given:
        return default
    try:
        value: Any = kind(given)
    except ValueError as error:
        raise wrong(name, given, expected) from error
    if not 0 < value < math.inf:
        raise wrong(name, given, expected)
    return value  # type: ignore[no-any-return]

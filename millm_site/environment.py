"""Readers of environment variables. A wrong value stops the start with its name, its value and the expected value.

Docker and Kubernetes mount secrets as files: NAME_FILE is the path of a file with the value of NAME. An empty variable
counts as not set.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from redis.connection import parse_url

T = TypeVar("T")

TRUE, FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
HOST_NAME = re.compile(r"(?![\d.]+$)[a-z\d]([a-z\d.-]*[a-z\d])?", re.IGNORECASE)
# Accepted everywhere: as a size of a file, a date, a timeout of a thread.
LARGEST_INT, LARGEST_FLOAT = 2**40, 1e9


def text(name: str, default: str = "") -> str:
    if path := os.environ.get(f"{name}_FILE"):
        try:
            given = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise wrong(f"{name}_FILE", path, "the path of a text file that can be read") from error
    else:
        given = os.environ.get(name, "")
    return given.strip() or default


def secret(name: str, least: int = 1) -> str:
    """A secret that fits into an HTTP header. The error does not show it."""
    given = text(name)
    if given and (len(given) < least or not re.fullmatch(r"[!-~]+", given)):
        got = f"{name} has {len(given)} characters"
        raise ImproperlyConfigured(f"{got}: expected at least {least}, printable ASCII without spaces")
    return given


def words(name: str, default: Iterable[str] = ()) -> list[str]:
    """Words separated by commas."""
    given = text(name, ",".join(default))
    return [word.strip() for word in given.split(",") if word.strip()]


def boolean(name: str, default: bool) -> bool:
    given = text(name).lower()
    if not given:
        return default
    if given not in TRUE | FALSE:
        raise wrong(name, given, "true or false")
    return given in TRUE


def positive_int(name: str, default: int, most: int = LARGEST_INT) -> int:
    return _number(name, default, int, most, f"a whole number from 1 to {most}")


def positive_float(name: str, default: float) -> float:
    return _number(name, default, float, LARGEST_FLOAT, f"a number above 0, at most {LARGEST_FLOAT:.0f}")


def port(name: str, default: int, least: int = 0) -> int:
    """A TCP port; 0 is none."""
    given = text(name, str(default))
    if not re.fullmatch(r"[0-9]{1,5}", given) or not least <= int(given) <= 65535:
        raise wrong(name, given, f"a number from {least} to 65535")
    return int(given)


def one_of(name: str, default: str, choices: Iterable[str]) -> str:
    given, allowed = text(name, default), list(choices)
    if given not in allowed:
        raise wrong(name, given, "one of " + ", ".join(allowed))
    return given


def folder(name: str, default: Path, mode: int = 0o777) -> Path:
    """A folder; created if it is missing."""
    given = text(name, str(default))
    try:
        path = Path(given).expanduser().resolve()
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise wrong(name, given, f"a folder, or a path where one can be created ({error})") from error
    return path


# --- hosts and addresses ---


def host(name: str, default: str) -> str:
    """An IP address or a host name."""
    given = text(name, default)
    if not _is_address(given) and not HOST_NAME.fullmatch(given):
        raise wrong(name, given, "an address such as 0.0.0.0, or a host name")
    return given


def hosts(name: str, default: Iterable[str]) -> list[str]:
    """Hosts as Django matches them: names, .names with all their subdomains, addresses, * for all."""
    given = words(name, default)
    for pattern in given:
        if pattern != "*" and not _is_host_pattern(pattern):
            raise wrong(
                name, pattern, "a host such as chat.example.org, .example.org or [::1], without scheme and port"
            )
    return given


def addresses(name: str) -> list[str]:
    """Addresses and networks separated by commas. The network of all addresses is refused."""
    given = words(name)
    for network in given:
        try:
            has_all = ipaddress.ip_network(network).prefixlen == 0
        except ValueError:
            has_all = True
        if has_all:
            raise wrong(name, network, "an address or a network such as 10.1.0.0/16, not all of them")
    return given


def _is_host_pattern(given: str) -> bool:
    """True if the pattern can match a Host header without its port."""
    if given.startswith("["):
        return given.endswith("]") and ":" in given and _is_address(given[1:-1])
    return (":" not in given and _is_address(given)) or bool(HOST_NAME.fullmatch(given.removeprefix(".")))


def _is_address(given: str) -> bool:
    try:
        ipaddress.ip_address(given)
    except ValueError:
        return False
    return True


# --- URLs; an error never shows a URL that may have a password ---


def database(name: str, value: str) -> dict[str, Any]:
    """Django's database settings for the URL `value` of the variable `name`, as libpq reads the URL."""
    found: dict[str, Any] = {}
    try:
        if urlsplit(value).scheme in {"postgresql", "postgres"}:
            found = conninfo_to_dict(value)
    except (ValueError, ProgrammingError):
        pass  # the error is not chained: its message may have a part of the password
    ports = str(found.get("port", "")).split(",")
    are_ports = all(re.fullmatch(r"[0-9]{0,5}", port) and int(port or 0) < 2**16 for port in ports)
    if not found.get("dbname") or not are_ports:
        raise wrong(name, _without_password(value), "a URL such as postgresql://user:password@host:5432/name")
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    main = {setting: found.pop(parameter, "") for setting, parameter in names.items()}
    return {"ENGINE": "django.db.backends.postgresql", **main, "OPTIONS": found}


def redis_url(name: str, value: str) -> str:
    """Return `value`, the URL of the variable `name`. Raises ImproperlyConfigured if it is wrong."""
    try:
        found, path = parse_url(value), urlsplit(value).path
    except ValueError:
        found, path = {}, ""
    # redis-py's parser ignores a database that is not a number.
    if not found.get("path") and not (found.get("host") and re.fullmatch(r"/?[0-9]*", path)):
        raise wrong(name, _without_password(value), "a URL such as redis://:password@host:6379/0 or unix:///path?db=0")
    query = parse_qs(urlsplit(value).query)
    verified = {"ssl_cert_reqs": ["required"], "ssl_check_hostname": ["true"]}
    if any(query.get(parameter, expected) != expected for parameter, expected in verified.items()):
        expected = "a certificate that is verified: leave out ssl_cert_reqs and ssl_check_hostname, set ssl_ca_certs"
        raise wrong(name, _without_password(value), expected)
    if (authority := query.get("ssl_ca_certs")) and not os.access(authority[0], os.R_OK):
        raise wrong(name, _without_password(value), f"that ssl_ca_certs, {authority[0]!r}, is a file that can be read")
    return value


def optional_url(name: str) -> str:
    given = text(name)
    if given and not _web(given):
        raise wrong(name, _without_password(given), "a URL such as https://hub.example.org")
    return given


def origins(name: str) -> list[str]:
    """Origins separated by commas, each with a scheme and without a path."""
    given = words(name)
    for origin in given:
        parts = _web(origin)
        if parts is None or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
            raise wrong(name, origin, "an origin such as https://chat.example.org")
    return given


def _web(given: str) -> SplitResult | None:
    """The parts of an http(s) URL; None if it is not one."""
    try:
        parts = urlsplit(given)
        return parts if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _without_password(given: str) -> str:
    scheme, found, _ = given.partition("://")
    return f"{scheme}://…" if found else "…"


def wrong(name: str, got: object, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name} is {got!r}: expected {expected}")


def _number(name: str, default: T, kind: Callable[[Any], T], most: float, expected: str) -> T:
    given = text(name)
    if not given:
        return default
    try:
        value: Any = kind(given)
    except ValueError as error:
        raise wrong(name, given, expected) from error
    if not 0 < value <= most:
        raise wrong(name, given, expected)
    return value  # type: ignore[no-any-return]

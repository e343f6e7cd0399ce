"""The readers of environment variables: what is wrong is refused, with the name, what was got and what is expected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from millm_site import environment

WHOLE = "expected a whole number from 1 to 1099511627776"
NUMBER = "expected a number above 0, at most 1000000000"
ORIGIN = "expected an origin such as https://chat.example.org"
HOST = "expected an address such as 0.0.0.0, or a host name"
HEADER = "expected a host such as chat.example.org, .example.org or [::1], without scheme and port"
NETWORK = "expected an address or a network such as 10.1.0.0/16, not all of them"
SECRET = "expected at least 8, printable ASCII without spaces"

Read = Callable[[], Any]
READERS: dict[str, Read] = {
    "boolean": lambda: environment.boolean("X", True),
    "int": lambda: environment.positive_int("X", 1),
    "int to 9": lambda: environment.positive_int("X", 1, most=9),
    "float": lambda: environment.positive_float("X", 1),
    "port": lambda: environment.port("X", 1, least=1),
    "one of": lambda: environment.one_of("X", "a", ["a", "b"]),
    "host": lambda: environment.host("X", "127.0.0.1"),
    "hosts": lambda: environment.hosts("X", ["localhost"]),
    "addresses": lambda: environment.addresses("X"),
    "origins": lambda: environment.origins("X"),
    "url": lambda: environment.optional_url("X"),
    "secret": lambda: environment.secret("X", 8),
    "folder": lambda: environment.folder("X", Path("/")),
}
WRONG = [
    *(("boolean", "maybe", "X is 'maybe': expected true or false"),),
    *(("int", value, f"X is '{value}': {WHOLE}") for value in ("ten", "1.5", "0", "-1", "1099511627777")),
    ("int to 9", "10", "X is '10': expected a whole number from 1 to 9"),
    *(("float", value, f"X is '{value}': {NUMBER}") for value in ("inf", "nan", "0", "-1", "1e10", "1,5")),
    *(
        ("port", value, f"X is '{value}': expected a number from 1 to 65535")
        for value in ("0", "65536", "-1", "http", "²")
    ),
    ("one of", "c", "X is 'c': expected one of a, b"),
    *(
        ("host", value, f"X is '{value}': {HOST}")
        for value in ("http://h", "10.0.0.300", "h:80", "[::1]", "a b", ":::1")
    ),
    *(
        ("hosts", f"localhost,{one}", f"X is '{one}': {HEADER}")
        for one in ("https://x/", "x:80", "x/y", "*.x.org", "::1")
    ),
    *(("hosts", one, HEADER) for one in ("[x]", "[10.0.0.1]", "10.0.0.300", ".", "a_b")),
    *(
        ("addresses", f"10.0.0.1, {one}", f"X is '{one}': {NETWORK}")
        for one in ("*", "10.0.0.300/8", "proxy", "10.0.0.1/8")
    ),
    *(("addresses", one, NETWORK) for one in ("0.0.0.0/0", "::/0", "http://10.0.0.1")),
    *(
        ("origins", one, f"X is '{one}': {ORIGIN}")
        for one in ("a.org", "https://a.org/path", "https://", "https://a.org:x")
    ),
    *(("origins", one, ORIGIN) for one in ("ftp://a.org", "https://a.org?b", "https://me@a.org", "https://[::1")),
    *(
        ("url", one, "expected a URL such as https://hub.example.org")
        for one in ("ftp://a", "https://", "a.org", "http://a:x")
    ),
    *(("secret", one, f"characters: {SECRET}") for one in ("short", "with a space", "ünïcödé-key", "tab\there-it-is")),
    ("folder", "/dev/null/below", "X is '/dev/null/below': expected a folder, or a path where one can be created"),
    ("folder", "~nobody-of-that-name/x", "expected a folder, or a path where one can be created"),
]
RIGHT: list[tuple[str, str, Any]] = [
    *(("boolean", word, True) for word in ("true", "YES", "1", " ")),
    *(("boolean", word, False) for word in ("off", "0")),
    ("int", " 42 ", 42),
    ("float", "0.5", 0.5),
    ("port", "65535", 65535),
    *(("host", one, one) for one in ("0.0.0.0", "::", "localhost", "web-1.example.org")),
    ("hosts", "*", ["*"]),
    ("hosts", "localhost, .example.org,[::1],10.0.0.1", ["localhost", ".example.org", "[::1]", "10.0.0.1"]),
    ("addresses", "10.0.0.0/8,::1, 192.0.2.1", ["10.0.0.0/8", "::1", "192.0.2.1"]),
    (
        "origins",
        "https://a.org,http://[::1]:80,https://*.b.org",
        ["https://a.org", "http://[::1]:80", "https://*.b.org"],
    ),
    ("url", "https://hub.example.org/mirror", "https://hub.example.org/mirror"),
    ("secret", "$%&/()=?", "$%&/()=?"),
    ("secret", "", ""),
]


@pytest.mark.parametrize(("reader", "value", "told"), WRONG)
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, reader: str, value: str, told: str) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured, match=r"^X (is|has) ") as refusal:
        READERS[reader]()
    assert told in str(refusal.value)


@pytest.mark.parametrize(("reader", "value", "meant"), RIGHT)
def test_a_right_value_is_taken(monkeypatch: pytest.MonkeyPatch, reader: str, value: str, meant: Any) -> None:
    monkeypatch.setenv("X", value)
    assert READERS[reader]() == meant


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", " ")
    assert environment.positive_int("X", 7) == 7
    assert environment.words("X", ["a"]) == ["a"]
    assert environment.host("X", "127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://me:s3cret@h/db", "postgresql://", "postgresql://me:s3cret@h", "postgresql://me:s3cret@h:port/db"),
        *(
            "postgresql://me:s3cret@h:99999/db",
            "postgresql://me:a/s3cret@h/db",
            "me:s3cret@h/db",
            "postgresql://[::1/db",
        ),
    ],
)
def test_a_wrong_database_is_told_without_its_password(url: str) -> None:
    with pytest.raises(
        ImproperlyConfigured, match=r"^DATABASE_URL is .*: expected a URL such as postgresql://"
    ) as refusal:
        environment.database("DATABASE_URL", url)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://:s3cret@h/notadb", "redis://:s3cret@h:port/0", "redis://:s3cret@h/0/1", "http://:s3cret@h/0"),
        *("redis://", "redis:///0", "unix://", "unix:///a?db=s3cret", ":s3cret@h:6379", "redis://[::1/0"),
    ],
)
def test_a_wrong_broker_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^REDIS_URL is .*: expected a URL such as redis://") as refusal:
        environment.redis_url("REDIS_URL", url)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "postgresql://me:pw@h:5433/db?sslmode=require",
            {"HOST": "h", "PORT": "5433", "OPTIONS": {"sslmode": "require"}},
        ),
        ("postgres://me@/db?host=/run/postgresql", {"HOST": "/run/postgresql", "OPTIONS": {}}),
        ("postgresql://me@one:5432,two:5433/db", {"HOST": "one,two", "PORT": "5432,5433"}),
    ],
)
def test_a_database_may_be_a_host_a_socket_or_several_hosts(url: str, found: dict[str, Any]) -> None:
    database = environment.database("DATABASE_URL", url)
    assert found.items() <= database.items()
    assert (database["NAME"], database["USER"]) == ("db", "me")


@pytest.mark.parametrize("url", ["redis://h", "rediss://me:pw@h:6380/3", "redis://h/", "unix:///a/redis.sock?db=3"])
def test_a_broker_may_be_a_host_or_a_socket(url: str) -> None:
    assert environment.redis_url("REDIS_URL", url) == url


# --- files ---


def test_a_value_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("X_FILE", str(tmp_path / "secret"))
    assert environment.text("X") == "from a file"


def test_a_file_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nothing", tmp_path, tmp_path / "binary"):
        monkeypatch.setenv("X_FILE", str(path))
        with pytest.raises(ImproperlyConfigured, match=r"^X_FILE is .*: expected the path of a text file"):
            environment.text("X")


def test_a_secret_may_begin_with_a_dollar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "$ecret")
    assert environment.text("X", "default") == "$ecret"

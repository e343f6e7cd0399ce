"""Settings come from the environment, and a wrong one stops the start with its name and what is expected."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

from millm_site import bootstrap, embedded, environment

WRONG: list[tuple[Callable[[], object], str, str]] = [
    (lambda: environment.boolean("X", True), "maybe", "X is 'maybe': expected true or false"),
    (lambda: environment.positive_int("X", 1), "ten", "X is 'ten': expected a whole number above 0"),
    (lambda: environment.positive_int("X", 1), "1.5", "X is '1.5': expected a whole number above 0"),
    (lambda: environment.positive_int("X", 1), "0", "X is '0': expected a whole number above 0"),
    (lambda: environment.positive_float("X", 1), "inf", "X is 'inf': expected a number above 0"),
    (lambda: environment.positive_float("X", 1), "nan", "X is 'nan': expected a number above 0"),
    (lambda: environment.one_of("X", "a", ["a", "b"]), "c", "X is 'c': expected one of a, b"),
    (lambda: environment.origins("X"), "chat.example.org", "expected an origin such as https://chat.example.org"),
    (lambda: environment.origins("X"), "https://a.org/path", "expected an origin such as https://chat.example.org"),
    (lambda: environment.optional_url("X", ["https"]), "ftp://a", "expected a URL that begins with https://"),
]


@pytest.fixture(autouse=True)
def uncached_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.env, "ENVIRON", FileAwareMapping(cache=False))


@pytest.mark.parametrize(("read", "value", "told"), WRONG)
def test_a_wrong_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], value: str, told: str
) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured) as refusal:
        read()
    assert told in str(refusal.value)


def test_a_wrong_url_is_told_without_its_password() -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        environment.url("DATABASE_URL", "mysql://me:secret@host/db", ["postgresql"])
    assert "secret" not in str(refusal.value)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", " ")
    assert environment.positive_int("X", 7) == 7
    assert environment.boolean("X", True) is True
    assert environment.words("X", ["a"]) == ["a"]


def test_a_value_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: "os.PathLike[str]") -> None:
    secret = os.path.join(tmp_path, "secret")
    with open(secret, "w") as file:
        file.write("from a file\n")
    monkeypatch.setenv("X_FILE", secret)
    assert environment.text("X") == "from a file"


def test_addresses_and_first_secrets_can_come_from_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, db: None
) -> None:
    given = {
        "DATABASE_URL": "postgresql://me@there/db",
        "REDIS_URL": "redis://there",
        "MILLM_ADMIN_PASSWORD": "hunter-22",
        "MILLM_API_KEY": "sk-from-a-file",
    }
    for name, value in given.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    monkeypatch.delenv(embedded.MARK)
    embedded.provide()
    assert "DATABASE_URL" not in os.environ, "an embedded server was started"
    assert (embedded.database_url(), embedded.redis_url()) == (given["DATABASE_URL"], given["REDIS_URL"])
    assert not embedded.is_embedded()
    made = bootstrap.bootstrap()
    assert (made.password, made.api_key) == ("hunter-22", "sk-from-a-file")


def test_a_secret_key_is_made_for_the_embedded_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(embedded.secret_key()) > 50
    monkeypatch.delenv(embedded.MARK)
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is not set"):
        embedded.secret_key()


def manage(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False)


def test_the_start_stops_at_a_wrong_value() -> None:
    done = manage("check", INFERENCE_BATCH_SIZE="many")
    assert done.returncode != 0
    assert "INFERENCE_BATCH_SIZE is 'many': expected a whole number above 0" in done.stderr

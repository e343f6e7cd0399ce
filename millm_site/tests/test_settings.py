"""Each setting is read from the environment, strictly: a wrong value stops the start with its name."""

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from inference.tests.conftest import free_port
from millm_site import addresses, embedded
from millm_site.tests.variables import FILES, ROOT, read_variables

# Any text can be meant.
FREE = {
    *("SECRET_KEY", "MILLM_ADMIN_PASSWORD", "MILLM_MODEL_DIRS", "MILLM_VECTORS_DIR", "HF_HUB_CACHE", "INFERENCE_MODEL"),
}
WRONG = {
    **dict.fromkeys(("DEBUG", "HTTPS", "HF_HUB_OFFLINE", "INFERENCE_JOBS"), "maybe"),
    **{name: "many" for name in read_variables().keys() - FREE if name.startswith("INFERENCE_")},
    **dict.fromkeys(
        (
            "DATABASE_POOL_SIZE",
            "LABELS_MAX_BYTES",
            "MAX_BODY_BYTES",
            "MEASURE_MAX_BYTES",
            "MILLM_REDIS_MAX_BYTES",
            "PORT",
        ),
        "0",
    ),
    **dict.fromkeys(("LOGIN_FAILURES", "LOGIN_FAILURES_PER_ADDRESS", "REQUEST_READ_S"), "0"),
    "DATABASE_STATEMENT_TIMEOUT_S": "0",
    **dict.fromkeys(("HSTS_SECONDS", "METRICS_PORT", "STEERING_MAX_FEATURES", "STEERING_MAX_STRENGTH"), "-1"),
    "LOGIN_LOCKOUT_MINUTES": "99999999999999",
    "HOST": "http://127.0.0.1",
    "ALLOWED_HOSTS": "https://x/",
    "FORWARDED_ALLOW_IPS": "*",
    "CSRF_TRUSTED_ORIGINS": "chat.example.org",
    "CORS_ALLOWED_ORIGINS": "https://chat.example.org/path",
    "DATABASE_URL": "postgresql://",
    "REDIS_URL": "redis://h/notadb",
    "HF_ENDPOINT": "https://",
    "HF_TOKEN": "two words",
    "METRICS_TOKEN": "two words",
    "MILLM_API_KEY": "0123456789012345678901234567890",
    "MILLM_HOME": "/dev/null/home",
    "STATIC_ROOT": "/dev/null/static",
    "LOG_LEVEL": "LOUD",
    "LOG_FORMAT": "xml",
    "MILLM_DEMO": "large",
}
OWN = {"DATABASE_URL": "postgresql://me@there/db", "REDIS_URL": "redis://there"}


def settings_of(monkeypatch: pytest.MonkeyPatch, **env: str) -> dict[str, Any]:
    """The settings of a process with these variables."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "millm_site/settings.py"))


def test_a_wrong_value_of_each_setting_is_known() -> None:
    assert sorted([*WRONG, *FREE]) == sorted(read_variables())


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_value_of_this_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{name} (is|has) .*: expected "):
        settings_of(monkeypatch, **{name: WRONG[name]})


@pytest.mark.parametrize("name", sorted(read_variables()))
def test_this_setting_can_come_from_a_file(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{name}_FILE is '/nowhere': expected the path of a text file"):
        settings_of(monkeypatch, **{f"{name}_FILE": "/nowhere"})


def test_no_other_module_reads_the_environment() -> None:
    modules = [
        file for app in ("millm_site", "steering", "profiles", "inference") for file in (ROOT / app).rglob("*.py")
    ]
    others = [file for file in modules if "tests" not in file.parts and file not in FILES and file.name != "testing.py"]
    assert len(others) > 100
    assert read_variables(others) == {}


def test_the_start_stops_at_a_wrong_value() -> None:
    done = manage("run", "web", INFERENCE_BATCH_SIZE="many")
    assert done.returncode != 0
    assert "INFERENCE_BATCH_SIZE is 'many': expected a whole number from 1" in done.stderr


# --- where it serves ---


@pytest.mark.parametrize(("given", "served"), [("", "127.0.0.1"), (" ", "127.0.0.1"), ("0.0.0.0", "0.0.0.0")])
def test_an_empty_host_is_this_machine_only(monkeypatch: pytest.MonkeyPatch, given: str, served: str) -> None:
    read = settings_of(monkeypatch, HOST=given, PORT="")
    assert (read["HOST"], read["PORT"]) == (served, 8000)


def test_the_web_serves_where_the_settings_say(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    listening: list[tuple[str, int]] = []

    def run(_server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        for one in sockets:
            with one:
                listening.append(one.getsockname())

    monkeypatch.setattr(uvicorn.Server, "run", run)
    settings.HOST, settings.PORT = "127.0.0.9", free_port()
    call_command("run", "web")
    assert listening == [("127.0.0.9", settings.PORT)]


def test_the_health_check_asks_where_the_settings_say(settings: Any) -> None:
    settings.PORT = free_port()
    with pytest.raises(CommandError, match="the web does not answer"):
        call_command("healthcheck", "web")


# --- where things are ---


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (OWN, []),
        ({"DATABASE_URL": OWN["DATABASE_URL"]}, ["REDIS_URL"]),
        ({"REDIS_URL": OWN["REDIS_URL"]}, ["DATABASE_URL"]),
        ({}, ["DATABASE_URL", "REDIS_URL"]),
    ],
)
def test_each_server_is_ours_or_theirs(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], ours: list[str]) -> None:
    for name in (*addresses.SERVERS, addresses.MARK):
        monkeypatch.delenv(name)
    read = settings_of(monkeypatch, SECRET_KEY="s" * 50, **given)
    assert read["EMBEDDED"] == ours
    style = "plain" if "DATABASE_URL" in ours else "json"
    assert read["LOGGING"]["handlers"]["console"]["formatter"] == style


def test_addresses_can_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in OWN.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.delenv(name)
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    monkeypatch.delenv(addresses.MARK)
    embedded.provide()
    assert "DATABASE_URL" not in os.environ, "an embedded server was started"
    read = settings_of(monkeypatch, SECRET_KEY="s" * 50)
    assert (read["DATABASE_URL"], read["REDIS_URL"], read["EMBEDDED"]) == (*OWN.values(), [])


def test_files_on_their_way_in_are_kept_below_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read = settings_of(monkeypatch, MILLM_HOME=str(tmp_path / "home"))
    folder = read["FILE_UPLOAD_TEMP_DIR"]
    assert folder == tmp_path / "home" / "uploads"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_the_home_cannot_be_written_files_are_kept_where_the_system_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "uploads").write_text("no folder")  # root may write everywhere else
    assert settings_of(monkeypatch, MILLM_HOME=str(tmp_path))["FILE_UPLOAD_TEMP_DIR"] is None


# --- the secret key ---


def test_a_secret_key_is_made_for_the_embedded_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    assert len(settings_of(monkeypatch)["SECRET_KEY"]) > 50


def test_a_process_beside_a_database_of_ones_own_does_not_start_without_a_secret_key() -> None:
    done = manage("run", "web", **OWN, SECRET_KEY="", **{addresses.MARK: ""})
    assert done.returncode != 0
    assert "SECRET_KEY is not set: expected a long random text" in done.stderr


def manage(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False)

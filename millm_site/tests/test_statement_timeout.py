"""A statement of the web that takes too long is given up, and who waits for it is told; commands have their time."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client

from inference.models import LanguageModel
from millm_site.tests.test_processes import Web, manage
from steering.statements import may_take_long

TOLD = "PostgreSQL gave up after 1 seconds: ask for less in one request."


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    made = Web({"DATABASE_STATEMENT_TIMEOUT_S": "1"}, tmp_path / "web.log")
    try:
        yield made.wait()
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(timeout=90)


def test_every_part_of_the_web_is_told(web: Web, demo: LanguageModel, api_key: str) -> None:
    auth = {"Authorization": f"Bearer {api_key}"}
    client = Client()
    client.force_login(get_user_model().objects.get(username="key-owner"))
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE profiles_profile")  # for longer than anybody waits
        rest = httpx.get(f"{web.url}/api/profiles", headers=auth, timeout=20)
        openai = httpx.get(f"{web.url}/v1/models", headers=auth, timeout=20)
        page = httpx.get(f"{web.url}/admin/profiles/profile/", cookies=cookies, timeout=20)
    assert (rest.status_code, rest.json()["code"], rest.json()["detail"]) == (503, "statement_timeout", TOLD)
    error = openai.json()["error"]
    assert (openai.status_code, error["code"], error["message"]) == (503, "statement_timeout", TOLD)
    assert (page.status_code, TOLD in page.text) == (503, True)
    assert httpx.get(f"{web.url}/api/profiles", headers=auth, timeout=20).status_code == 200


def test_commands_have_no_limit(db: None) -> None:
    ask = "from django.db import connection; c = connection.cursor(); c.execute('SHOW statement_timeout'); "
    ask += "print(c.fetchone())"
    assert manage("shell", "--no-imports", "-c", ask, DATABASE_STATEMENT_TIMEOUT_S="1").stdout == "('0',)\n"


@pytest.mark.django_db(transaction=True)
def test_what_grows_with_the_rows_lifts_the_limit_for_its_transaction() -> None:
    def limit() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return cursor.fetchone()[0]

    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '7s'")
    try:
        with transaction.atomic():
            may_take_long()
            assert limit() == "0"
        assert limit() == "7s"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")

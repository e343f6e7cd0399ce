"""Many logins at once hold nobody else up, and those of one address have a limit of their own."""

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from axes.models import AccessAttempt
from django.core.exceptions import ValidationError
from django.db.models import Sum
from django.test import RequestFactory

from millm_site.accounts import login
from millm_site.tests.test_login import LOGIN, RIGHT, attempt, is_in, users  # noqa: F401  (a fixture)
from millm_site.tests.test_processes import Web

FROM_HERE = "Too many failed logins from your address: wait 15 minutes, then try again."
BUSY = "Too many logins at once: wait a moment, then try again."
TOKEN = "a" * 32
FORM = {"password": "wrong", "csrfmiddlewaretoken": TOKEN}


@pytest.fixture
def web(transactional_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A `manage.py run web` with few connections to PostgreSQL."""
    env = {"DATABASE_POOL_SIZE": "4", "LOGIN_FAILURES_PER_ADDRESS": "6"}
    made = Web(env, tmp_path_factory.mktemp("logins") / "web.log")
    try:
        yield made.wait()
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(timeout=90)


def test_many_logins_at_once_do_not_hold_up_other_pages_and_try_few_passwords(web: Web, api_key: str) -> None:
    async def run() -> tuple[list[httpx.Response], list[tuple[int, float]]]:
        async with (
            httpx.AsyncClient(base_url=web.url, headers={"Cookie": f"csrftoken={TOKEN}"}, timeout=90) as stranger,
            httpx.AsyncClient(base_url=web.url, headers={"Authorization": f"Bearer {api_key}"}, timeout=90) as user,
        ):
            await user.get("/v1/models")
            logins = [
                asyncio.create_task(stranger.post(LOGIN, data=FORM | {"username": f"name-{number}"}))
                for number in range(60)
            ]
            asked = []
            while not all(task.done() for task in logins):
                began = time.monotonic()
                answer = await user.get("/api/profiles")
                asked.append((answer.status_code, time.monotonic() - began))
                await asyncio.sleep(0.1)
            return [await task for task in logins], asked

    pages, asked = asyncio.run(run())
    assert {page.status_code for page in pages} == {200}
    assert {status for status, _ in asked} == {200}
    assert max(took_s for _, took_s in asked) < 10
    tried = AccessAttempt.objects.aggregate(sum=Sum("failures_since_start"))["sum"]
    assert tried <= 6, "passwords were tried beyond the limit"
    assert sum(FROM_HERE in page.text or BUSY in page.text for page in pages) >= 60 - 6


@pytest.mark.django_db
def test_an_address_that_fails_with_many_names_is_told_to_wait_and_others_are_not(settings: Any) -> None:
    settings.LOGIN_FAILURES_PER_ADDRESS = 6
    for number in range(6):
        assert FROM_HERE not in attempt(f"name-{number}", "wrong").content.decode()
    assert FROM_HERE in attempt("another", "wrong").content.decode()
    assert FROM_HERE in attempt("ada", RIGHT).content.decode()
    assert is_in(attempt("ada", RIGHT, address="10.0.0.2"))
    assert AccessAttempt.objects.filter(username="another").count() == 0, "who is refused is not counted"


@pytest.mark.django_db
def test_a_login_forgets_its_own_failures_only(settings: Any) -> None:
    settings.LOGIN_FAILURES_PER_ADDRESS = 6
    for number in range(5):
        attempt(f"name-{number}", "wrong")
    assert is_in(attempt("ada", RIGHT))
    attempt("ada", "wrong")
    assert FROM_HERE in attempt("bob", RIGHT).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["unknown", "fe80::1%eth0", "", "1.2.3.4, 5.6.7.8"])
def test_an_address_that_a_proxy_tells_wrongly_is_none(address: str) -> None:
    assert attempt("ada", "wrong", address=address).status_code == 200
    assert AccessAttempt.objects.get().ip_address in {None, "fe80::1"}


@pytest.mark.django_db
def test_who_waits_too_long_for_others_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "WAIT_S", 0.1)
    form = login.LoginForm(RequestFactory().post(LOGIN), {"username": "ada", "password": RIGHT})
    for _ in range(login.AT_ONCE):
        assert login._turns.acquire(timeout=1)
    try:
        assert not form.is_valid()
    finally:
        for _ in range(login.AT_ONCE):
            login._turns.release()
    error = form.non_field_errors().as_data()[0]
    assert isinstance(error, ValidationError)
    assert error.code == "busy"
    assert AccessAttempt.objects.count() == 0

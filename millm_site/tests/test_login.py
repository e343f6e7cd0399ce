"""Too many failed logins with one name from one address are refused for a while, with a plain message."""

import asyncio
import datetime
import logging
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from axes.models import AccessAttempt
from django.contrib.auth import get_user_model
from django.db.models import F
from django.test import AsyncClient, Client

from inference.tests.conftest import Server

LOGIN = "/admin/login/?next=/admin/"
RIGHT = "correct horse battery staple"
TOO_MANY = "Too many failed logins with this name from your address: wait 15 minutes, then try again."


@pytest.fixture(autouse=True)
def users(db: None) -> None:
    for name in ("ada", "bob"):
        get_user_model().objects.create_superuser(name, password=RIGHT)


def attempt(name: str, password: str, address: str = "10.0.0.1", **extra: Any) -> Any:
    return Client().post(LOGIN, {"username": name, "password": password}, REMOTE_ADDR=address, **extra)


def fail(times: int, name: str = "ada", **extra: Any) -> Any:
    return [attempt(name, "wrong", **extra) for _ in range(times)][-1]


def is_in(answer: Any) -> bool:
    return bool(answer.status_code == 302 and answer["Location"] == "/admin/")


@pytest.mark.parametrize("query", ["", "?next=", "?next=//evil.example/"])
def test_a_login_without_a_page_to_go_on_to_goes_on_to_the_admin(query: str) -> None:
    answer = Client().post(f"/admin/login/{query}", {"username": "ada", "password": RIGHT})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_who_fails_too_often_is_told_to_wait_and_the_right_password_is_refused_too() -> None:
    assert TOO_MANY not in fail(4).content.decode()
    assert TOO_MANY in fail(1).content.decode()
    refused = attempt("ada", RIGHT)
    assert refused.status_code == 200
    assert TOO_MANY in refused.content.decode()


def test_another_browser_at_the_same_address_is_refused_too() -> None:
    for number in range(5):
        fail(1, HTTP_USER_AGENT=f"browser {number}")
    assert not is_in(attempt("ada", RIGHT, HTTP_USER_AGENT="browser 99"))


def test_others_can_log_in_meanwhile() -> None:
    fail(6)
    assert is_in(attempt("bob", RIGHT))
    assert is_in(attempt("ada", RIGHT, address="10.0.0.2"))


def test_a_login_before_the_limit_forgets_the_failures() -> None:
    fail(4)
    assert is_in(attempt("ada", RIGHT))
    fail(4)
    assert is_in(attempt("ada", RIGHT))


def test_the_wait_ends_and_trying_meanwhile_does_not_prolong_it() -> None:
    fail(5)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - datetime.timedelta(minutes=14))
    assert not is_in(attempt("ada", RIGHT))
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - datetime.timedelta(minutes=2))
    assert is_in(attempt("ada", RIGHT))


def test_a_header_of_the_client_does_not_change_its_address() -> None:
    for number in range(5):
        fail(1, HTTP_X_FORWARDED_FOR=f"10.1.1.{number}")
    assert not is_in(attempt("ada", RIGHT, HTTP_X_FORWARDED_FOR="10.9.9.9"))


def test_no_password_is_kept_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        attempt("ada", "a-secret-mistyped")
        attempt("ada", RIGHT)
    assert "a-secret-mistyped" not in caplog.text
    attempt("bob", "a-secret-mistyped")
    assert "a-secret-mistyped" not in str(AccessAttempt.objects.values())


def test_requests_at_once_try_no_more_passwords_than_the_limit(server: Server) -> None:
    token = "a" * 32
    form = {"username": "ada", "password": "wrong", "csrfmiddlewaretoken": token}
    cookies = {"Cookie": f"csrftoken={token}"}

    async def run() -> list[str]:
        async with httpx.AsyncClient(base_url=server.url, headers=cookies, timeout=60) as client:
            answers = await asyncio.gather(*(client.post(LOGIN, data=form) for _ in range(24)))
        return [answer.text for answer in answers]

    pages = asyncio.run(run())
    assert sum(TOO_MANY in page for page in pages) == 20
    assert sum("Please enter the correct username and password" in page for page in pages) == 4
    assert AccessAttempt.objects.get().failures_since_start == 5
    assert not is_in(attempt("ada", RIGHT, address="127.0.0.1"))
    assert is_in(attempt("ada", RIGHT, address="10.0.0.2"))


def test_it_holds_under_asgi() -> None:
    async def log_in(password: str) -> Any:
        return await AsyncClient().post(LOGIN, {"username": "ada", "password": password})

    async def run() -> Any:
        for _ in range(5):
            await log_in("wrong")
        return await log_in(RIGHT)

    assert TOO_MANY in async_to_sync(run)().content.decode()


def test_the_page_says_what_is_wrong_and_nothing_more() -> None:
    page = Client().get(LOGIN)
    assert page.status_code == 200
    assert "miLLM" in page.content.decode()
    wrong = attempt("ada", "wrong").content.decode()
    unknown = attempt("nobody", "wrong").content.decode()
    assert "Please enter the correct username and password" in wrong
    assert "Please enter the correct username and password" in unknown

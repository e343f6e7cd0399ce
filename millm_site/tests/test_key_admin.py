"""API keys in the admin: shown once, on a page of its own; found, limited, revoked."""

import datetime
import logging
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from millm_site.models import APIKey
from millm_site.tests.test_api_keys import status_with

LIST, ADD = "/admin/millm_site/apikey/", "/admin/millm_site/apikey/add/"


def form(owner: Any, **changes: str) -> dict[str, Any]:
    return {"name": "laptop", "user": owner.pk, "expires": "", "expires_on": "", "requests_per_minute": "", **changes}


def shown(page: str) -> str:
    return str(re.findall(r"sk-[0-9a-f]{64}", page)[0])


def test_a_new_key_is_shown_once(admin_client: Client, admin_user: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        made = admin_client.post(ADD, form(admin_user))
        page = admin_client.get(made["Location"])
    key = shown(page.content.decode())
    assert status_with(key) == 200
    assert page["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    again = admin_client.get(made["Location"], follow=True)
    assert again.redirect_chain == [(LIST, 302)]
    assert "A key is shown only once" in again.content.decode()
    for place in (again.content.decode(), admin_client.get(LIST).content.decode(), made["Location"], caplog.text):
        assert key not in place
    assert key not in str([session.get_decoded() for session in Session.objects.all()])
    assert key[:9] in again.content.decode()


def test_the_cookie_that_brings_the_key_goes_to_its_page_only(admin_client: Client, admin_user: Any) -> None:
    made = admin_client.post(ADD, form(admin_user), secure=True)
    cookie = made.cookies["new_api_key"]
    assert cookie["path"] == made["Location"]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["max-age"]) == (True, True, "Strict", 60)


def test_a_key_is_not_shown_to_another_user_of_the_browser(
    admin_client: Client, admin_user: Any, django_user_model: Any
) -> None:
    made = admin_client.post(ADD, form(admin_user))
    admin_client.force_login(django_user_model.objects.create_superuser("next", password="x"))
    assert admin_client.get(made["Location"]).status_code == 302


@pytest.mark.parametrize(("expires", "days"), [("", None), ("30", 30), ("90", 90), ("365", 365)])
def test_a_key_expires_as_it_was_chosen(admin_client: Client, admin_user: Any, expires: str, days: int | None) -> None:
    admin_client.post(ADD, form(admin_user, expires=expires))
    expiry = APIKey.objects.get().expiry
    assert (expiry is None) == (days is None)
    if days is not None:
        assert abs(expiry - timezone.now() - datetime.timedelta(days=days)) < datetime.timedelta(minutes=1)


def test_a_key_works_until_the_end_of_the_day_that_was_chosen(admin_client: Client, admin_user: Any) -> None:
    today = timezone.now().date()
    admin_client.post(ADD, form(admin_user, expires="date", expires_on=f"{today}"))
    end = datetime.datetime.combine(today + datetime.timedelta(days=1), datetime.time.min, tzinfo=datetime.UTC)
    assert abs(APIKey.objects.get().expiry - end) < datetime.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"expires": "date"}, "Enter a date."),
        ({"expires": "date", "expires_on": "2020-01-31"}, "Got 31 Jan 2020, expected today or a later day."),
        ({"expires": "date", "expires_on": "9999-12-31"}, "Got 31 Dec 9999, expected an earlier day, or Never."),
        ({"expires": "date", "expires_on": "soon"}, "Enter a valid date."),
        ({"expires_on": "2090-01-01"}, "Got a date and &#x27;Never&#x27;: choose &#x27;On a date&#x27;"),
        ({"name": ""}, "This field is required."),
        ({"requests_per_minute": "0"}, "Expected at least 1, got 0."),
        ({"user": "999999"}, "Expected one of the offered choices."),
    ],
)
def test_a_refused_key_is_not_made(admin_client: Client, admin_user: Any, changes: Any, told: str) -> None:
    page = admin_client.post(ADD, form(admin_user, **changes)).content.decode()
    assert told in page
    assert not APIKey.objects.exists()


def test_the_list_says_how_each_key_is(
    admin_client: Client, admin_user: Any, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    for name in ("unused", "old", "used"):
        APIKey.objects.issue(admin_user, name, requests_per_minute=60)
    APIKey.objects.filter(name="old").update(expiry=now, last_used_at=now)
    APIKey.objects.filter(name="used").update(last_used_at=now)
    for number in range(20):
        APIKey.objects.issue(admin_user, f"more {number}")
    with django_assert_max_num_queries(10):
        page = admin_client.get(LIST).content.decode()
    for word in ("never used", "expired", "active", "60 / min"):
        assert word in page
    for state, name in (("expired", "old"), ("never+used", "unused"), ("active", "used")):
        assert f">{name}</a>" in admin_client.get(f"{LIST}?state={state}").content.decode()
    assert ">used</a>" not in admin_client.get(f"{LIST}?state=expired").content.decode()


def test_no_filter_tells_the_digest_of_a_key(admin_client: Client, admin_user: Any) -> None:
    APIKey.objects.issue(admin_user, "secret")
    assert admin_client.get(LIST, {"name__startswith": "sec"}).status_code == 200
    assert admin_client.get(LIST, {"digest__startswith": "a"}).status_code == 400


def test_a_key_is_renamed_and_ended_by_its_form(admin_client: Client, admin_user: Any) -> None:
    made, key = APIKey.objects.issue(admin_user, "laptop")
    page = f"{LIST}{made.pk}/change/"
    past = {"name": "desk", "requests_per_minute": "", "expiry_0": "2020-01-01", "expiry_1": "00:00"}
    assert "expected a later time" in admin_client.post(page, past).content.decode()
    assert admin_client.post(page, {**past, "expiry_0": "2090-01-01"}).status_code == 302
    made.refresh_from_db()
    assert (made.name, made.expiry.year) == ("desk", 2090)
    assert status_with(key) == 200


def test_an_expired_key_can_still_be_renamed(admin_client: Client, admin_user: Any) -> None:
    made, _ = APIKey.objects.issue(admin_user, "laptop")
    APIKey.objects.update(expiry=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    same = {"name": "desk", "requests_per_minute": "", "expiry_0": "2020-01-01", "expiry_1": "00:00:00"}
    assert admin_client.post(f"{LIST}{made.pk}/change/", same).status_code == 302


def test_a_key_is_revoked_after_a_question(admin_client: Client, admin_user: Any) -> None:
    made, key = APIKey.objects.issue(admin_user, "laptop")
    question = admin_client.get(f"{LIST}{made.pk}/revoke/", follow=True)
    assert "Revoke laptop" in question.content.decode()
    assert status_with(key) == 200
    told = admin_client.post(f"{LIST}{made.pk}/delete/", {"post": "yes"}, follow=True).content.decode()
    assert "is revoked" in told
    assert status_with(key) == 401


def test_the_key_of_one_who_may_do_more_is_only_seen(admin_user: Any, django_user_model: Any) -> None:
    keeper = django_user_model.objects.create_user("keeper", is_staff=True)
    keeper.user_permissions.set(Permission.objects.filter(content_type__model="apikey"))
    client = Client()
    client.force_login(keeper)
    (above, _), (own, _) = APIKey.objects.issue(admin_user, "above"), APIKey.objects.issue(keeper, "own")
    edited = {"name": "taken", "requests_per_minute": "1", "expiry_0": "", "expiry_1": ""}
    page = client.get(f"{LIST}{above.pk}/change/")
    assert (page.status_code, "/revoke/" in page.content.decode()) == (200, False)
    assert client.post(f"{LIST}{above.pk}/change/", edited).status_code == 403
    assert client.get(f"{LIST}{above.pk}/revoke/").status_code in {302, 403}
    assert client.post(f"{LIST}{above.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [above.pk, own.pk], "post": "yes"}
    assert client.post(LIST, chosen).status_code == 403
    assert set(APIKey.objects.values_list("name", flat=True)) == {"above", "own"}
    assert "/revoke/" in client.get(f"{LIST}{own.pk}/change/").content.decode()
    assert client.post(f"{LIST}{own.pk}/change/", edited).status_code == 302
    assert client.post(f"{LIST}{own.pk}/delete/", {"post": "yes"}).status_code == 302

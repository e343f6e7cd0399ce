"""API keys: who uses one, until when, and when it was used last."""

import datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from rest_framework.test import APIClient

from millm_site.accounts.authentication import KeyAuthentication
from millm_site.models import APIKey

DOORS = ["/api/profiles", "/v1/models"]


def answer_to(key: str, path: str = DOORS[0]) -> Any:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return client.get(path)


def status_with(key: str) -> int:
    return int(answer_to(key).status_code)


def told(answer: Any) -> str:
    """The words of a refusal, in DRF's shape or OpenAI's."""
    body = answer.json()
    return str(body["detail"] if "detail" in body else body["error"]["message"])


@pytest.mark.parametrize("path", DOORS)
def test_an_expired_key_is_refused_and_told_so(api_key: str, path: str) -> None:
    assert answer_to(api_key, path).status_code == 200
    APIKey.objects.update(expiry=datetime.datetime(2026, 3, 5, 9, 30, tzinfo=datetime.UTC))
    refused = answer_to(api_key, path)
    assert refused.status_code == 401
    assert told(refused) == "This API key expired on 5 Mar 2026 at 09:30 UTC: use another one."
    assert APIKey.objects.exists()  # so that people see that it expired


@pytest.mark.parametrize("path", DOORS)
def test_the_key_of_an_inactive_user_is_refused(api_key: str, path: str) -> None:
    get_user_model().objects.update(is_active=False)
    refused = answer_to(api_key, path)
    assert (refused.status_code, told(refused)) == (401, "The user of this API key is inactive.")


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("key", ["sk-wrong", "\xff\xfe", "a" * 5000, "two words"])
def test_a_wrong_key_is_refused(db: None, key: str, path: str) -> None:
    refused = answer_to(key, path)
    assert refused.status_code == 401
    assert refused["WWW-Authenticate"] == "Bearer"


def test_a_revoked_key_is_refused(api_key: str) -> None:
    APIKey.objects.all().delete()
    assert status_with(api_key) == 401


@pytest.mark.parametrize("path", DOORS)
def test_the_last_use_is_noted_once_a_minute(api_key: str, path: str) -> None:
    answer_to(api_key, path)
    first = APIKey.objects.get().last_used_at
    assert first is not None
    assert timezone.now() - first < datetime.timedelta(minutes=1)
    answer_to(api_key, path)
    assert APIKey.objects.get().last_used_at == first
    APIKey.objects.update(last_used_at=first - datetime.timedelta(minutes=2))
    answer_to(api_key, path)
    again = APIKey.objects.get().last_used_at
    assert again is not None
    assert again >= first


def test_a_refused_request_is_no_use(api_key: str) -> None:
    APIKey.objects.update(expiry=timezone.now())
    answer_to(api_key)
    assert APIKey.objects.get().last_used_at is None


def test_authentication_costs_one_query_and_seldom_a_second(api_key: str, django_assert_num_queries: Any) -> None:
    for queries in (2, 1):
        with django_assert_num_queries(queries):
            user, key = KeyAuthentication().authenticate_credentials(api_key.encode())
    assert (user.get_username(), key.name) == ("key-owner", "test")

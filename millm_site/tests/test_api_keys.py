"""API keys: only their digest is stored; presets, expiry, the admin."""

import datetime

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from millm_site.bootstrap import bootstrap
from millm_site.models import APIKey


def status_with(key: str) -> int:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return int(client.get("/api/profiles").status_code)


def test_the_first_run_makes_one_administrator_and_one_key(db: None) -> None:
    first, second = bootstrap(), bootstrap()
    assert first.password
    assert first.api_key is not None
    assert status_with(first.api_key) == 200
    assert (second.password, second.api_key) == (None, None)
    [stored] = APIKey.objects.all()
    assert first.api_key not in (stored.digest, stored.token_key)
    assert first.api_key.startswith(stored.token_key)


def test_a_key_can_be_preset_at_any_run(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap()
    monkeypatch.setenv("MILLM_API_KEY", "my-own-secret-key")
    assert bootstrap().api_key == "my-own-secret-key"
    assert bootstrap().api_key is None
    assert status_with("my-own-secret-key") == 200
    assert status_with("my-own-secret-kex") == 401


@pytest.mark.parametrize("preset", ["short", "with a space", "ünïcödé-key", "tab\there-it-is"])
def test_a_bad_preset_is_refused(db: None, monkeypatch: pytest.MonkeyPatch, preset: str) -> None:
    monkeypatch.setenv("MILLM_API_KEY", preset)
    with pytest.raises(ImproperlyConfigured, match="MILLM_API_KEY has"):
        bootstrap()


def test_an_expired_key_is_refused(api_key: str) -> None:
    assert status_with(api_key) == 200
    APIKey.objects.update(expiry=timezone.now() - datetime.timedelta(seconds=1))
    assert status_with(api_key) == 401


def test_the_admin_shows_a_new_key_once(admin_client: Client, admin_user: object) -> None:
    form = {"name": "laptop", "user": admin_user.pk, "expiry_0": "", "expiry_1": ""}  # type: ignore[attr-defined]
    page = admin_client.post("/admin/millm_site/apikey/add/", form, follow=True).content.decode()
    [stored] = APIKey.objects.all()
    assert stored.name == "laptop"
    key = page.split("The new key, shown only now: ")[1].split("<")[0]
    assert status_with(key) == 200
    assert key not in admin_client.get("/admin/millm_site/apikey/").content.decode()

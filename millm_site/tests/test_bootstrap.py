"""What the first run creates: an administrator, a key of which only the digest is stored, presets of both."""

import datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from millm_site.bootstrap import PRESET, bootstrap
from millm_site.models import APIKey
from millm_site.tests.test_api_keys import status_with

KEY = "0123456789-of-my-own-secret-key-0"


@pytest.fixture
def preset(db: None, settings: Any) -> APIKey:
    """A key that a setting gave."""
    bootstrap()
    settings.MILLM_API_KEY = KEY
    assert bootstrap().api_key == PRESET
    key: APIKey = APIKey.objects.get(name="MILLM_API_KEY")
    return key


def test_the_first_run_makes_one_administrator_and_one_key(db: None) -> None:
    first, second = bootstrap(), bootstrap()
    assert first.password
    assert first.api_key is not None
    assert status_with(first.api_key) == 200
    assert (second.password, second.api_key) == (None, None)
    [stored] = APIKey.objects.all()
    assert first.api_key not in (stored.digest, stored.token_key)
    assert first.api_key.startswith(stored.token_key)


def test_a_key_can_be_preset_at_any_run(preset: APIKey) -> None:
    assert bootstrap().api_key is None
    assert status_with(KEY) == 200
    assert status_with(f"{KEY[:-1]}1") == 401


def test_of_a_preset_key_most_is_not_kept(preset: APIKey) -> None:
    assert preset.token_key == KEY[:11]


def test_a_revoked_preset_stays_revoked(preset: APIKey) -> None:
    preset.delete()
    assert bootstrap().api_key is None
    assert status_with(KEY) == 401


def test_a_preset_whose_user_is_gone_is_not_given_to_another_one(preset: APIKey) -> None:
    get_user_model().objects.create_superuser("heir", password="x")
    preset.user.delete()
    assert bootstrap().api_key is None
    assert status_with(KEY) == 401


def test_a_preset_keeps_what_was_set_on_it(preset: APIKey) -> None:
    ended = timezone.now() - datetime.timedelta(days=1)
    APIKey.objects.filter(pk=preset.pk).update(expiry=ended, requests_per_minute=7, name="of the pipeline")
    bootstrap()
    preset.refresh_from_db()
    assert (preset.expiry, preset.requests_per_minute, preset.name) == (ended, 7, "of the pipeline")
    assert status_with(KEY) == 401


def test_a_preset_of_the_version_before_stays_and_is_revoked_for_good(preset: APIKey) -> None:
    from millm_site.models import PresetKey

    PresetKey.objects.all().delete()  # as that version left it
    bootstrap()
    assert status_with(KEY) == 200
    preset.delete()
    bootstrap()
    assert status_with(KEY) == 401


def test_another_preset_makes_another_key(preset: APIKey, settings: Any) -> None:
    settings.MILLM_API_KEY = KEY[::-1]
    assert bootstrap().api_key == PRESET
    assert status_with(KEY[::-1]) == status_with(KEY) == 200

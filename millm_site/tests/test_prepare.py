"""`manage.py prepare`: what it creates is shown once, and what a setting gave is not shown."""

import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import call_command
from django.test import RequestFactory

from millm_site.bootstrap import bootstrap
from millm_site.management.commands import run
from millm_site.tests.test_api_keys import status_with

PASSWORD, KEY = "hunter-22-preset", "0123456789-of-my-own-secret-key-0"


def prepare() -> str:
    shown = StringIO()
    call_command("prepare", verbosity=0, stdout=shown)
    return shown.getvalue()


def test_what_was_made_up_is_shown_once(db: None) -> None:
    shown = prepare()
    password, key = (
        re.search(r"admin / (\S+) +\(shown once\)", shown),
        re.search(r"API key +(\S+) +\(shown once\)", shown),
    )
    assert password is not None
    assert key is not None
    assert authenticate(RequestFactory().post("/"), username="admin", password=password[1])
    assert status_with(key[1]) == 200
    assert prepare() == "The database is ready.\n"


@pytest.fixture
def presets(db: None, settings: Any) -> None:
    settings.MILLM_ADMIN_PASSWORD, settings.MILLM_API_KEY = PASSWORD, KEY


def test_what_was_preset_is_not_shown(presets: None) -> None:
    shown = prepare()
    assert PASSWORD not in shown
    assert KEY not in shown
    assert "Login     admin / as preset\n" in shown
    assert "API key   as preset\n" in shown
    assert get_user_model().objects.get().check_password(PASSWORD)
    assert status_with(KEY) == 200


def test_the_greeting_of_run_does_not_show_it_either(presets: None) -> None:
    shown = StringIO()
    run.Command(stdout=shown)._greet("http://127.0.0.1:8000", bootstrap())
    assert "as preset" in shown.getvalue()
    assert PASSWORD not in shown.getvalue()
    assert "Bearer" not in shown.getvalue()

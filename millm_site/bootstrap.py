"""The first run: creates an administrator, an API key and the demo."""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction

from inference.demo import Demo
from inference.demo.register import follow_paths, register_demo
from inference.demo.tiny import TINY
from millm_site.models import APIKey

ADMIN = "admin"
PRESET = "as preset"  # shown in place of a secret that a setting gave, which must not get into logs


@dataclass(frozen=True)
class Secrets:
    """The new secrets as texts to show once; None for one that existed before."""

    password: str | None
    api_key: str | None


def is_first_run() -> bool:
    return not get_user_model().objects.filter(is_superuser=True).exists()


@transaction.atomic
def bootstrap(demo: Demo | None = TINY) -> Secrets:
    """Create what is missing. `demo` is registered on the first run only: a deleted demo stays deleted."""
    if demo is not None and is_first_run():
        register_demo(demo)
    else:
        follow_paths()
    password = _create_admin()
    return Secrets(password, _create_key(first=password is not None))


def _create_admin() -> str | None:
    if not is_first_run():
        return None
    password = settings.MILLM_ADMIN_PASSWORD or secrets.token_urlsafe(12)
    get_user_model().objects.create_superuser(ADMIN, password=password)
    return PRESET if settings.MILLM_ADMIN_PASSWORD else password


def _create_key(*, first: bool) -> str | None:
    """Create the key MILLM_API_KEY if it is set and new; else, on the first run, a random key."""
    preset = settings.MILLM_API_KEY
    if not preset and not first:
        return None
    owner = get_user_model().objects.filter(is_superuser=True).earliest("pk")
    if preset:
        return PRESET if APIKey.objects.preset(owner, preset, "MILLM_API_KEY") else None
    return APIKey.objects.issue(owner, "first key")[1]

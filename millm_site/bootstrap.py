"""What the first run creates: an administrator, an API key, the demo."""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction

from inference.demo.register import register_demo
from millm_site.models import APIKey

ADMIN = "admin"
PRESET = "as preset"  # stands for a secret that a setting gave: it must not get into logs


@dataclass(frozen=True)
class Secrets:
    """What was created just now, as it is shown, once; None where it was there before."""

    password: str | None
    api_key: str | None


@transaction.atomic
def bootstrap() -> Secrets:
    """Create what is missing."""
    register_demo()
    password = _create_admin()
    return Secrets(password, _create_key(first=password is not None))


def _create_admin() -> str | None:
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = settings.MILLM_ADMIN_PASSWORD or secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, password=password)
    return PRESET if settings.MILLM_ADMIN_PASSWORD else password


def _create_key(*, first: bool) -> str | None:
    """MILLM_API_KEY where it is set and new; a random key on the first run."""
    preset = settings.MILLM_API_KEY
    if not preset and not first:
        return None
    owner = get_user_model().objects.filter(is_superuser=True).earliest("pk")
    if preset:
        return PRESET if APIKey.objects.preset(owner, preset, "MILLM_API_KEY") else None
    return APIKey.objects.issue(owner, "first key")[1]

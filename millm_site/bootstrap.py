"""What the first run creates: an administrator, an API key, the demo."""

import secrets
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from knox.crypto import hash_token
from knox.settings import CONSTANTS

from inference.demo.register import register_demo
from millm_site import environment
from millm_site.models import APIKey

ADMIN = "admin"
MIN_KEY_LENGTH = 8


@dataclass(frozen=True)
class Secrets:
    """What was created just now, to be shown once; None where it was there before."""

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
    password = environment.text("MILLM_ADMIN_PASSWORD") or secrets.token_urlsafe(12)
    users.create_superuser(ADMIN, password=password)
    return password


def _create_key(*, first: bool) -> str | None:
    """MILLM_API_KEY where it is set and new; a random key on the first run."""
    preset = environment.text("MILLM_API_KEY")
    if not preset and not first:
        return None
    owner = get_user_model().objects.filter(is_superuser=True).earliest("pk")
    if not preset:
        return APIKey.objects.issue(owner, "first key")[1]
    if len(preset) < MIN_KEY_LENGTH or not preset.isascii() or not preset.isprintable() or " " in preset:
        raise ImproperlyConfigured(
            f"MILLM_API_KEY has {len(preset)} characters: expected at least {MIN_KEY_LENGTH} printable ones, no spaces"
        )
    _, created = APIKey.objects.get_or_create(
        digest=hash_token(preset),
        defaults={"user": owner, "name": "MILLM_API_KEY", "token_key": preset[: _shown_length(preset)]},
    )
    return preset if created else None


def _shown_length(key: str) -> int:
    """How many characters of a key are kept to know it by: of a short one so few that they do not give it away."""
    return min(int(CONSTANTS.TOKEN_KEY_LENGTH), len(key) // 3)

"""API keys: knox's hashed tokens with a name, a last use, and a limit; and the first steps of each user."""

import datetime
from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from knox.crypto import hash_token
from knox.models import AbstractAuthToken, AuthTokenManager
from knox.settings import CONSTANTS

USE_INTERVAL = datetime.timedelta(minutes=1)


class APIKeyManager(AuthTokenManager):
    def issue(
        self,
        user: Any,
        name: str,
        *,
        expires_at: datetime.datetime | None = None,
        requests_per_minute: int | None = None,
    ) -> "tuple[APIKey, str]":
        """Create a key of `user`. Returns the key and its text, which is never stored."""
        ttl = expires_at - timezone.now() if expires_at else None
        made: tuple[APIKey, str] = self.create(user, expiry=ttl, name=name, requests_per_minute=requests_per_minute)
        return made

    @transaction.atomic
    def preset(self, user: Any, text: str, name: str) -> bool:
        """Create a key of this text on the first call with it, so that a revoked key stays revoked.

        Returns True if the key was created.
        """
        digest = hash_token(text)
        if not PresetKey.objects.get_or_create(digest=digest)[1]:
            return False
        shown = {"token_key": text[: min(int(CONSTANTS.TOKEN_KEY_LENGTH), len(text) // 3)]}  # at most a third
        made: bool = self.get_or_create(digest=digest, defaults={"user": user, "name": name, **shown})[1]
        return made

    def find(self, text: str) -> "APIKey | None":
        """The key with this text, with its user; None if there is none."""
        found: APIKey | None = self.select_related("user").filter(digest=hash_token(text)).first()
        return found


class APIKey(AbstractAuthToken):
    """A bearer key with the permissions of its user. Only its SHA-512 digest and its first characters are stored."""

    id: models.BigAutoField[int, int] = models.BigAutoField(
        primary_key=True
    )  # knox uses the digest, which would be in the admin's URLs
    digest: models.CharField[str, str] = models.CharField(max_length=128, unique=True, editable=False)
    name: models.CharField[str, str] = models.CharField(max_length=100, help_text="What is this key for?")
    last_used_at: models.DateTimeField[Any, Any] = models.DateTimeField(
        "last used", null=True, editable=False, help_text="To the minute."
    )
    requests_per_minute: models.PositiveIntegerField[Any, Any] = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Further requests get 429 until the next minute. Leave empty for no limit.",
    )
    text: str = ""  # the key itself, only on a row that the admin has just created

    objects = APIKeyManager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key[:6]}…)"  # a short key must not be shown whole

    @property
    def is_expired(self) -> bool:
        return self.expiry is not None and self.expiry <= timezone.now()

    def touch(self) -> None:
        """Note the use of the key, at most once a minute."""
        now = timezone.now()
        if self.last_used_at is None or self.last_used_at < now - USE_INTERVAL:
            due = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_INTERVAL)  # another process may have noted it
            APIKey.objects.filter(due, pk=self.pk).update(last_used_at=now)


class PresetKey(models.Model):
    """The digest of a key that was preset once. This row outlives the key, so a revoked key is not created again."""

    digest: models.CharField[str, str] = models.CharField(max_length=128, primary_key=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.digest[:6]


class FirstSteps(models.Model):
    """The first steps of a user in the admin, which a card of the dashboard shows until they are done or dismissed."""

    user: models.OneToOneField[Any, Any] = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True
    )
    has_asked: models.BooleanField[bool, bool] = models.BooleanField(default=False)
    is_closed: models.BooleanField[bool, bool] = models.BooleanField(default=False, help_text="All done, or dismissed.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.user)

"""API keys: knox's hashed tokens with a name."""

from django.db import models
from knox.models import AbstractAuthToken


class APIKey(AbstractAuthToken):
    """A bearer key of one user; only its SHA-512 digest and its first characters are stored."""

    name: models.CharField[str, str] = models.CharField(max_length=100, help_text="What uses this key.")

    class Meta:
        verbose_name = "API key"
        ordering = ["-created"]

    def __str__(self) -> str:
        return f"{self.name} ({self.token_key[:6]}…)"  # a short key must not be shown whole

"""Who asks, by an API key: the one place for /v1 and /api. It is DRF's first authentication class (settings.py)."""

from typing import Any

from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled

from millm_site.accounts import rate_limits
from millm_site.models import APIKey


class KeyAuthentication(TokenAuthentication):
    """knox's, which would delete a key that expired instead of saying so; with the last use and the limit of a key."""

    def authenticate_credentials(self, token: bytes) -> tuple[Any, APIKey]:
        """The user and the key. Raises AuthenticationFailed, or Throttled beyond the key's limit."""
        key = APIKey.objects.find(token.decode("utf-8", "replace"))
        if key is None:
            raise AuthenticationFailed("Incorrect API key provided.", code="invalid_api_key")
        if key.is_expired:
            told = f"This API key expired on {key.expiry:%-d %B %Y at %H:%M UTC}: use another one."
            raise AuthenticationFailed(told, code="expired_api_key")
        if not key.user.is_active:
            raise AuthenticationFailed("The user of this API key is inactive.", code="inactive_user")
        if wait_s := rate_limits.seconds_to_wait(key):
            raise Throttled(wait_s, f"This API key may make {key.requests_per_minute} requests a minute.")
        key.touch()
        return key.user, key

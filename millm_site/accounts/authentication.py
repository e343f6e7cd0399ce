"""Authentication by API key, for both /v1 and /api. It must be the first authentication class in settings.py."""

from typing import Any

from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled

from millm_site.accounts import rate_limits
from millm_site.models import APIKey


class KeyAuthentication(TokenAuthentication):
    """knox's authentication, but an expired key gets an error of its own, and a key's last use and limit are kept."""

    def authenticate_credentials(self, token: bytes) -> tuple[Any, APIKey]:
        """The user and the key. Raises AuthenticationFailed, or Throttled beyond the key's limit."""
        key = APIKey.objects.find(token.decode("utf-8", "replace"))
        if key is None:
            raise AuthenticationFailed("Incorrect API key provided.", code="invalid_api_key")
        if key.is_expired:
            message = f"This API key expired on {key.expiry:%-d %b %Y at %H:%M UTC}: use another one."
            raise AuthenticationFailed(message, code="expired_api_key")
        if not key.user.is_active:
            raise AuthenticationFailed("The user of this API key is inactive.", code="inactive_user")
        if wait_s := rate_limits.seconds_to_wait(key):
            raise Throttled(wait_s, f"This API key may make {key.requests_per_minute} requests a minute.")
        key.touch()
        return key.user, key

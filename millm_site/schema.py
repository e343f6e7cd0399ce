"""The description of API keys in /api/schema."""

from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme


class KeyScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    """knox's scheme: a bearer token."""

    target_class = "millm_site.accounts.authentication.KeyAuthentication"
    name = "apiKey"

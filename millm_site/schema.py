"""How /api/schema describes API keys."""

from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme


class KeyScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    """knox's: a bearer token."""

    target_class = "millm_site.accounts.authentication.KeyAuthentication"
    name = "apiKey"

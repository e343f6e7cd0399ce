"""Who asks: by the bearer keys of knox on /v1, by their session in the admin. The errors are OpenAI's."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.http import HttpRequest
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

from inference.openai.errors import OpenAIError


class APIUser(AbstractBaseUser, PermissionsMixin):
    """What we ask of a user; for types only."""

    class Meta:
        abstract = True


def by_key(request: HttpRequest) -> APIUser:
    """The owner of the request's API key. Raises OpenAIError 401."""
    try:
        found = TokenAuthentication().authenticate(request)
    except (AuthenticationFailed, UnicodeDecodeError) as error:
        raise OpenAIError(401, "Incorrect API key provided.", code="invalid_api_key") from error
    if found is None:
        message = "No API key provided: send it in the header `Authorization: Bearer <key>`."
        raise OpenAIError(401, message, code="invalid_api_key")
    user: APIUser = found[0]
    # As DRF does: the history of what this request changes says who, and with which key.
    request.user, request.auth = found  # type: ignore[attr-defined]
    return user


def by_session(request: HttpRequest) -> Any:
    """The user who is logged in to the admin. Raises OpenAIError 401."""
    if not (request.user.is_active and request.user.is_staff):
        raise OpenAIError(401, "Nobody is logged in: log in to the admin again.", code="not_logged_in")
    return request.user


Authenticate = Callable[[HttpRequest], Any]

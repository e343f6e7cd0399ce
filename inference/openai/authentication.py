"""Authentication by an API key on /v1, by the session in the admin. The errors are OpenAI's."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.http import HttpRequest
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, Throttled
from rest_framework.settings import api_settings

from inference.openai.errors import OpenAIError


class APIUser(AbstractBaseUser, PermissionsMixin):
    """The user model as this app needs it; for types only."""

    class Meta:
        abstract = True


def by_key(request: HttpRequest) -> APIUser:
    """The owner of the request's API key. Raises OpenAIError 401, or 429 beyond the key's limit."""
    key_authentication: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES[
        0
    ]  # that of REST, which this app cannot import
    try:
        found = key_authentication().authenticate(request)
    except Throttled as error:
        wait_s: float = error.wait  # type: ignore[attr-defined]
        raise OpenAIError(429, str(error.detail), code="rate_limit_exceeded", retry_after_s=wait_s) from error
    except AuthenticationFailed as error:
        raise OpenAIError(401, str(error.detail), code="invalid_api_key") from error
    if found is None:
        message = "No API key provided: send it in the header `Authorization: Bearer <key>`."
        raise OpenAIError(401, message, code="invalid_api_key")
    user: APIUser = found[0]
    # As DRF does: the history names the user and the key for all that this request changes.
    request.user, request.auth = found  # type: ignore[attr-defined]
    return user


def by_session(request: HttpRequest) -> Any:
    """The user who is logged in to the admin. Raises OpenAIError 401, or 403 without the CSRF token."""
    if not (request.user.is_active and request.user.is_staff):
        raise OpenAIError(401, "Nobody is logged in: log in to the admin again.", code="not_logged_in")
    try:
        SessionAuthentication().enforce_csrf(request)  # type: ignore[arg-type]  # DRF hands it on to Django's check
    except PermissionDenied as error:
        raise OpenAIError(403, "The page is too old: reload it.", code="csrf_failed") from error
    return request.user


Authenticate = Callable[[HttpRequest], Any]

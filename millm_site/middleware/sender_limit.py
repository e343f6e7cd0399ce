"""The limit of a request's body, by its sender and by its view."""

from contextlib import suppress
from importlib import import_module
from io import BytesIO
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.core.handlers.asgi import ASGIRequest
from django.template.defaultfilters import filesizeformat
from django.urls import Resolver404, resolve

from inference.openai.errors import OpenAIError
from millm_site.models import APIKey

UNKNOWN_MAX = 2**16  # bytes from a sender without a key or a login, such as the form of a login
FORM_MAX = 16  # times the limit: the size of a file that the form itself refuses, beside its field


class TooLarge(OpenAIError):
    """Error: a body has more than `limit` bytes. `page` is the message for a page."""

    def __init__(self, limit: int, *, may_be_larger: bool = False) -> None:
        hint = " Users who may import files here can send more: check your login or key." if may_be_larger else ""
        message = f"The body is larger than the {limit} bytes that this server takes.{hint}"
        super().__init__(413, message, code="request_too_large")
        self.page = f"This server takes at most {filesizeformat(limit)} at once.{hint} Go back, and send less."


class UnknownSender(OpenAIError):
    """Error: a body has more than UNKNOWN_MAX bytes, and its sender has neither a key nor a login."""

    def __init__(self) -> None:
        message = f"A body of more than {UNKNOWN_MAX} bytes needs a valid API key or login: check your login or key."
        super().__init__(401, message, code="invalid_api_key")


def _imports() -> dict[str, tuple[str, int]]:
    """{name of a view that takes files: (permission to send larger bodies, their limit in bytes)}."""
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    labels = ("steering.add_featurelabel", settings.LABELS_MAX_BYTES + limit)  # the file and the rest of the form
    texts = ("steering.change_sae", settings.MEASURE_MAX_BYTES + limit)
    return {
        "admin:steering_sae_measure": texts,
        "measure": texts,
        "admin:steering_featurelabel_import_labels": labels,
        "labels_import": labels,
        "admin:steering_feature_import_features": labels,
        "features_import": labels,
        "admin:profiles_profile_import_profiles": ("profiles.add_profile", limit * FORM_MAX),
    }


def limit_for_sender(scope: Any, size: int) -> int:
    """The limit in bytes of this request's body. Raises OpenAIError if `size` bytes are too many."""
    limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    permission, imported = "", limit
    with suppress(KeyError, Resolver404):
        permission, imported = _imports()[resolve(scope["path"]).view_name]
    if size > imported:
        raise TooLarge(imported)
    sender = _sender(ASGIRequest(scope, BytesIO()))
    if not sender.is_active:
        raise UnknownSender
    if permission and sender.has_perm(permission):
        return imported
    if size > limit:
        raise TooLarge(limit, may_be_larger=True)
    return limit


def _sender(request: Any) -> Any:
    """The user of the request's key or session. The view checks permissions later."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        key = APIKey.objects.find(given.strip())
        return AnonymousUser() if key is None or key.is_expired else key.user
    sessions = import_module(settings.SESSION_ENGINE)
    request.session = sessions.SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    return get_user(request)

"""Who changed a row, when, and by which door: django-simple-history with two columns of ours."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import models
from simple_history.models import HistoricalRecords

AGENT_LENGTH = 200


class Door(models.TextChoices):
    ADMIN = "admin", "admin"
    API = "api", "API"
    CHAT = "chat", "chat"
    COMMAND = "command", "command"


def _request() -> Any:
    """The request that is being answered, which HistoryRequestMiddleware keeps; None outside of one."""
    return getattr(HistoricalRecords.context, "request", None)


@contextmanager
def on_behalf_of(request: Any) -> Iterator[None]:
    """Changes in the block are `request`'s, also after the middleware has let go of it."""
    before = _request()
    HistoricalRecords.context.request = request
    try:
        yield
    finally:
        HistoricalRecords.context.request = before


def current_door() -> str:
    """The door by which the change that is being made came in."""
    request = _request()
    if request is None:
        return Door.COMMAND
    if request.path.startswith("/v1/"):
        return Door.CHAT
    return Door.API if request.path.startswith("/api/") else Door.ADMIN


def current_agent() -> str:
    """Who makes the change, in words that stay when the user or the key is deleted."""
    request = _request()
    if request is None:
        return _os_user()
    key = getattr(request, "auth", None)
    name = request.user.get_username()
    return f"{name}, key {key}"[:AGENT_LENGTH] if key else name


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""


def superseded(history: Any) -> "models.QuerySet[Any]":
    """Of a model of versions, those that are not the newest of their object."""
    row = history.instance_type._meta.pk.attname
    later = history.objects.filter(
        **{row: models.OuterRef(row)},
        history_date__gte=models.OuterRef("history_date"),  # a clock may jump: neither is the newest by its number
        history_id__gt=models.OuterRef("history_id"),
    )
    found: models.QuerySet[Any] = history.objects.filter(models.Exists(later))
    return found


class Origin(models.Model):
    """The columns of a version that say where the change came from; filled in when a version is made."""

    door = models.CharField(max_length=10, choices=Door, default=current_door)
    agent = models.CharField(max_length=AGENT_LENGTH, blank=True, default=current_agent)

    class Meta:
        abstract = True


class History(HistoricalRecords):
    """Keeps every version of a model's rows. An instance's `_change_reason` says what was done, in a word or two."""

    def __init__(self, **kwargs: Any) -> None:
        # A reason names profiles, whose names alone may fill the library's 100 characters.
        super().__init__(
            bases=[Origin],
            history_change_reason_field=models.TextField(null=True),
            history_id_field=models.BigAutoField(primary_key=True),
            **kwargs,
        )

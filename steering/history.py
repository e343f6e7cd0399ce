"""The history of rows: django-simple-history, with two columns for who made a change and through which interface."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import models
from simple_history.models import HistoricalRecords

AGENT_LENGTH = 200


class Door(models.TextChoices):
    """The interface through which a change came."""

    ADMIN = "admin", "admin"
    API = "api", "API"
    CHAT = "chat", "chat"
    COMMAND = "command", "command"


THROUGH: dict[str, str] = {
    Door.ADMIN: "in the admin",
    Door.API: "through the API",
    Door.CHAT: "by a chat",
    Door.COMMAND: "by command line",
}


def _request() -> Any:
    """The request in progress, kept by HistoryRequestMiddleware; None outside a request."""
    return getattr(HistoricalRecords.context, "request", None)


@contextmanager
def on_behalf_of(request: Any) -> Iterator[None]:
    """Record changes in the block as made by `request`, also after the middleware has dropped it."""
    before = _request()
    HistoricalRecords.context.request = request
    try:
        yield
    finally:
        HistoricalRecords.context.request = before


def current_door() -> str:
    """The interface through which the current change came."""
    request = _request()
    if request is None:
        return Door.COMMAND
    if request.path.startswith("/v1/"):
        return Door.CHAT
    return Door.API if request.path.startswith("/api/") else Door.ADMIN


def current_agent() -> str:
    """The user and the API key that make the change, as text, which stays when they are deleted."""
    request = _request()
    if request is None:
        return _os_user()
    key = getattr(request, "auth", None)
    name = request.user.get_username()
    return f"{name}, key {key}"[:AGENT_LENGTH] if key else name


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return ""


def superseded(history: Any) -> "models.QuerySet[Any]":
    """The versions of a history model that are not the newest version of their row."""
    row = history.instance_type._meta.pk.attname
    later = history.objects.filter(
        **{row: models.OuterRef(row)},
        history_date__gte=models.OuterRef("history_date"),  # a clock may jump back: the id alone does not tell
        history_id__gt=models.OuterRef("history_id"),
    )
    found: models.QuerySet[Any] = history.objects.filter(models.Exists(later))
    return found


class Origin(models.Model):
    """The columns that say where a change came from; filled in when the version is made."""

    door = models.CharField(max_length=10, choices=Door, default=current_door)
    agent = models.CharField(max_length=AGENT_LENGTH, blank=True, default=current_agent)

    class Meta:
        abstract = True

    @property
    def author(self) -> str:
        """The user and the interface, such as `admin, in the admin`."""
        return ", ".join(filter(None, [self.agent, THROUGH.get(self.door, self.door)]))


class History(HistoricalRecords):
    """Keep every version of the rows of a model. `_change_reason` of an instance says in a few words what was done."""

    def __init__(self, **kwargs: Any) -> None:
        # The library has 100 characters for a reason. The name of a profile alone may have as many.
        super().__init__(
            bases=[Origin],
            history_change_reason_field=models.TextField(null=True),
            history_id_field=models.BigAutoField(primary_key=True),
            **kwargs,
        )

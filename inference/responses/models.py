"""Responses that are stored: for their owner to read, to go on from and to delete, until they expire."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Sum, Window
from django.utils import timezone

from inference.responses.ids import RESPONSE_ID, response_of
from steering.errors import NothingToCancel, Refused

RENEWAL = timedelta(days=1)
"""The expiry of earlier responses of a conversation is put off in steps of at least this."""
LATEST_END = timedelta(seconds=60)
"""A web stores the end of a response within this time after INFERENCE_REQUEST_TIMEOUT_S, if it is still there."""
LOST = "The web process that made this response ended before the response was complete."


class ResponseNotFound(Refused):
    """An id of no response of this owner."""

    code = "response_not_found"
    status = 404


class ResponseUnfinished(Refused):
    """A response without an end that a conversation could go on from."""

    code = "response_unfinished"
    status = 409


class JSONText(models.TextField):  # type: ignore[type-arg]
    """JSON as text: PostgreSQL's own JSON has no place for the character NUL, which prompts and answers may have."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else json.dumps(value)


class StoredResponseManager(models.Manager["StoredResponse"]):
    def of(self, owner: Any) -> "models.QuerySet[StoredResponse]":
        """The responses of `owner` that have not expired."""
        return self.filter(owner=owner, expires_at__gt=timezone.now())

    def with_id(self, owner: Any, response_id: str) -> "StoredResponse":
        """The response of that id. Raises ResponseNotFound, also where it is another user's."""
        found = self.of(owner).filter(pk=response_id).first() if RESPONSE_ID.fullmatch(response_id) else None
        if found is None:
            raise ResponseNotFound(f"there is no response {response_id!r:.100}: it was not stored, or has expired")
        return found

    def items(self, owner: Any, item_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """{item id: item} for those of the ids that items of the owner's responses have."""
        wanted = {*item_ids}
        rows = self.of(owner).filter(pk__in={found for one in wanted if (found := response_of(one))})
        return {item["id"]: item for row in rows for item in row.items if item["id"] in wanted}

    def delete_expired(self) -> int:
        """Delete what has expired, and the oldest responses of owners with more than INFERENCE_RESPONSES_MAX_BYTES.

        Returns the number of deleted responses.
        """
        expired, _ = self.filter(expires_at__lte=timezone.now()).delete()
        bytes_since = Window(Sum("size"), partition_by="owner_id", order_by=[F("created_at").desc(), F("id").desc()])
        too_much = self.annotate(since=bytes_since).filter(since__gt=settings.INFERENCE_RESPONSES_MAX_BYTES)
        beyond, _ = self.filter(pk__in=[*too_much.values_list("pk", flat=True)]).delete()
        return expired + beyond


class StoredResponse(models.Model):
    """A response: its input and output items, its end, and its place in a conversation."""

    class Status(models.TextChoices):
        IN_PROGRESS = "in_progress"
        COMPLETED = "completed"
        INCOMPLETE = "incomplete"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.CharField(primary_key=True, max_length=37)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False)
    conversation = models.CharField(max_length=37, help_text="The id of the first response of the conversation.")
    previous = models.CharField(max_length=37, blank=True, help_text="The id of the response that it goes on from.")
    model = models.TextField(blank=True, db_default="", help_text="The model id of the request.")
    status = models.CharField(max_length=11, choices=Status.choices)
    inbox = models.CharField(max_length=100, blank=True, help_text="While in progress: where its web reads events.")
    input_items = JSONText(help_text="The items of its request, without those of earlier responses.")
    body = JSONText(help_text="The response as its client got it.")
    size = models.PositiveIntegerField(help_text="Bytes of items and body.")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)

    objects = StoredResponseManager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = "stored response"
        default_permissions = ("view", "delete")  # of the admin; an owner needs none
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], include=["size"], name="responses_of_owner"),
            models.Index(fields=["conversation"], name="responses_of_conversation"),
        ]

    def __str__(self) -> str:
        return f"response {self.pk}"

    # --- what it holds ---

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items of its request, then those of the answer."""
        return [*self.input_items, *self.body["output"]]

    @property
    def state(self) -> str:
        """Its status; what is in progress has failed where its web cannot be at it any more."""
        longest = timedelta(seconds=settings.INFERENCE_REQUEST_TIMEOUT_S) + LATEST_END
        is_lost = self.status == self.Status.IN_PROGRESS and self.created_at + longest < timezone.now()
        return str(self.Status.FAILED if is_lost else self.status)

    def as_json(self) -> dict[str, Any]:
        """The response as it is now."""
        error = {"error": {"code": "server_error", "message": LOST}} if self.state != self.status else {}
        return {**self.body, "status": self.state, **error}

    # --- its conversation ---

    @classmethod
    def following(cls, owner: Any, response_id: str, previous: "StoredResponse | None") -> "StoredResponse":
        """A response that goes on from `previous`, or begins a conversation; not saved."""
        place = {"conversation": previous.conversation, "previous": previous.pk} if previous else {}
        return cls(**{"conversation": response_id, **place}, id=response_id, owner=owner)

    def path(self) -> "list[StoredResponse]":
        """The responses of its conversation up to it, the first one first; where one is deleted, those after it."""
        found = StoredResponse.objects.in_bulk(ids := self._path_ids())
        return [found[one] for one in reversed(ids) if one in found]

    def _path_ids(self) -> list[str]:
        rows = StoredResponse.objects.of(self.owner_id).filter(conversation=self.conversation)
        previous = dict(rows.values_list("pk", "previous"))
        ids = [self.pk]
        while (earlier := previous.get(ids[-1])) in previous:
            ids.append(str(earlier))
        return ids

    def history(self) -> list[dict[str, Any]]:
        """The items that a response after this one goes on from. Raises ResponseNotFound or ResponseUnfinished."""
        if self.state not in {self.Status.COMPLETED, self.Status.INCOMPLETE}:
            raise ResponseUnfinished(f"{self} is {self.state}: only a completed or incomplete one can be gone on from")
        path = self.path()
        if not path or path[0].previous:
            raise ResponseNotFound(f"an earlier response of the conversation of {self} was deleted, or has expired")
        return [item for row in path for item in row.items]

    # --- its life ---

    def begin(self, body: Mapping[str, Any], inbox: str) -> None:
        """Store it as one in progress."""
        self.status, self.inbox = self.Status.IN_PROGRESS, inbox
        self._insert(body)

    def end(self, status: str, body: Mapping[str, Any]) -> None:
        """Store its end. A cancelled response stays cancelled, and a deleted one deleted."""
        if self._state.adding:
            self.status = status
            self._insert(body)
            return
        rows = StoredResponse.objects.filter(pk=self.pk)
        rows.filter(status=self.Status.IN_PROGRESS).update(status=status)
        rows.update(body=body, size=self._bytes(body), inbox="")

    def check_cancellable(self) -> None:
        """Raise NothingToCancel where it has ended otherwise than by a cancellation."""
        if self.state not in {self.Status.IN_PROGRESS, self.Status.CANCELLED}:
            raise NothingToCancel(f"{self} is {self.state} already: nothing was cancelled")

    def cancel(self) -> None:
        """Mark it as cancelled, unless it has ended."""
        running = StoredResponse.objects.filter(pk=self.pk, status=self.Status.IN_PROGRESS)
        running.update(status=self.Status.CANCELLED)
        self.refresh_from_db()

    def check_deletable(self) -> None:
        """Every response can be deleted: the end of one in progress is not stored then."""

    def _insert(self, body: Mapping[str, Any]) -> None:
        """Insert the row, and keep what it goes on from as long as it."""
        self.body, self.size, self.model = {**body}, self._bytes(body), body.get("model", "")
        self.expires_at = timezone.now() + timedelta(days=settings.INFERENCE_RESPONSES_KEPT_DAYS)
        self.save(force_insert=True)
        if self.previous:
            earlier = StoredResponse.objects.filter(pk__in=self._path_ids(), expires_at__lt=self.expires_at - RENEWAL)
            earlier.update(expires_at=self.expires_at)

    def _bytes(self, body: Mapping[str, Any]) -> int:
        return len(json.dumps(self.input_items)) + len(json.dumps(body))

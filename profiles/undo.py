"""Undo of an activation, a deactivation or a deletion of a profile, as long as nothing else has changed since.

A token names the change. It is signed and bound to a user: without this, whoever may activate profiles could restore
any version of the live steering.
"""

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Any

from django.core import signing
from django.db import transaction

from profiles.errors import NothingToUndo
from profiles.models import Profile
from steering.errors import Refused
from steering.models import SteeringState

SALT = "profiles.undo"
MAX_AGE_S = 24 * 3600


@dataclass(frozen=True)
class Moment:
    """The version of the live steering, the id of the active profile ("" for none), and the time of its last edit."""

    version: int
    active: str
    edited: str

    @classmethod
    def now(cls) -> "Moment":
        active = Profile.objects.active()
        version = SteeringState.objects.load().version
        return cls(version, active.pk if active else "", active.updated_at.isoformat() if active else "")


@dataclass(frozen=True)
class Undo:
    """A change that can be undone: the moments `before` and `after`, and `deleted`, the ids of deleted profiles."""

    before: Moment
    after: Moment
    deleted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.deleted) or self.switched

    @property
    def switched(self) -> bool:
        """True where the change activated or deactivated a profile, or changed the live steering."""
        return (self.before.version, self.before.active) != (self.after.version, self.after.active)

    def token(self, user: Any) -> str:
        """A token for `read`, valid for a day, and for `user` alone."""
        content = [user.pk, astuple(self.before), astuple(self.after), self.deleted]
        return signing.dumps(content, salt=SALT, compress=True)

    @classmethod
    def read(cls, token: str, user: Any) -> "Undo":
        """The undo of a token. Raises NothingToUndo."""
        try:
            owner, before, after, deleted = signing.loads(token, salt=SALT, max_age=MAX_AGE_S)
        except signing.BadSignature as error:
            raise NothingToUndo("got a link that is not valid, or older than a day: use the history instead") from error
        if owner != user.pk:
            raise NothingToUndo("got a link of another user: use the history instead")
        return cls(Moment(*before), Moment(*after), tuple(deleted))

    @transaction.atomic
    def apply(self, *, may_activate: bool = True) -> str:
        """Undo the change. Returns the outcome as sentences.

        Of deleted profiles, the one that was active is activated again where `may_activate` and nothing else has
        changed since. Raises NothingToUndo, and where the profile or the live steering no longer fits
        IncompatibleProfile or SteeringUnavailable; nothing changes then.
        """
        SteeringState.objects.lock()
        if not self.deleted:
            return self._switch_back()
        told = self._restore()
        if not self.switched:
            return told
        if not may_activate:
            return f"{told} The profile that was active stays inactive: activating needs a permission that you lack."
        try:
            with transaction.atomic():
                return f"{told} {self._switch_back()}"
        except Refused as error:
            return f"{told} The profile that was active stays inactive: {error}."

    def _restore(self) -> str:
        """Restore the deleted profiles, under free names where their names are taken."""
        versions = [Profile.history.filter(id=pk).order_by("-history_id").first() for pk in self.deleted]
        if any(last is None or last.history_type != "-" for last in versions):
            raise NothingToUndo("a deleted profile was restored already: see the bin")
        [first, *others] = versions
        told = [f"{len(versions)} profiles were restored." if others else f"{first.name} was restored."]
        for last in versions:
            restored = Profile.objects.restore(last.id, last.history_id)
            if restored.name != last.name:
                told.append(f"{last.name} is named {restored} now, since another profile has its name.")
        return " ".join(told)

    def _switch_back(self) -> str:
        """Bring back the active profile and the live steering of `before`."""
        now = Moment.now()
        if (now.version, now.active) != (self.after.version, self.after.active):
            raise NothingToUndo("the live steering was changed since: choose a version in its history")
        back = self._active_before()
        if now.active != self.before.active:
            if current := Profile.objects.active():
                current.mark(False, "deactivated: its activation was undone")
            if back:
                back.mark(True, "activated again: undone")
        state = SteeringState.objects.load()
        if state.version != self.before.version:
            state.restore(self.before.version)
        active = f"{back} is active again" if back else "no profile is active"
        return f"Undone: {active}, and the live steering is as it was before."

    def _active_before(self) -> Profile | None:
        """The profile that was active before; None where none was. Raises NothingToUndo, IncompatibleProfile."""
        if not self.before.active:
            return None
        back = Profile.objects.filter(pk=self.before.active).first()
        if back is None:
            raise NothingToUndo("the profile that was active before is deleted by now")
        if not self.deleted and back.updated_at.isoformat() != self.before.edited:
            raise NothingToUndo(f"{back}, which was active before, was edited since: activate it instead")
        back.check_compatible()
        return back


def record(change: Callable[[], Any]) -> tuple[Any, Undo]:
    """Make a change of the active profile, and return its result with its undo. Raises what `change` raises."""
    with transaction.atomic():
        SteeringState.objects.lock()
        before = Moment.now()
        result = change()
        return result, Undo(before, Moment.now())


def record_deletion(delete: Callable[[], Any], ids: Iterable[str]) -> Undo:
    """Delete the profiles of these ids, and return the undo. Raises what `delete` raises."""
    _, undo = record(delete)
    return Undo(undo.before, undo.after, tuple(ids))

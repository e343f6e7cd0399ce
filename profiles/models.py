"""Profiles: named steerings for one model, one SAE and one layer; at most one is active.

Every method that changes the active profile or the live steering takes `SteeringState.objects.lock()` first.
"""

import uuid
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

from django.contrib.admin.utils import unquote
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import models, transaction
from django.db.models import Q
from django.dispatch import Signal

from profiles.compatibility import in_one
from profiles.errors import IncompatibleProfile, InvalidProfile, ProfileExists, ProfileNotActive, StaleProfile
from profiles.managers import (
    CONTENT,
    DESCRIPTION_LENGTH,
    NAME_LENGTH,
    NOTES_LENGTH,
    HighestFeature,
    ProfileQuerySet,
    Strongest,
)
from profiles.tags import TagsField, check_printable, parse_tags
from steering.document import Steering
from steering.document.fit import misfits
from steering.document.resolution import resolve
from steering.fields import FeatureStrengthsField, MoreField
from steering.history import History, current_door
from steering.models import SAE, LanguageModel, SteeringState
from steering.spec import SteeringSpec

activated = Signal()
"""Sent when the activation of a profile is committed, with the interface through which it came (`door`)."""


def new_id() -> str:
    """A random id that is the same in the admin's URLs, where `_40` would be read as `@`: links by hand work too."""
    while True:
        made = f"prof_{uuid.uuid4().hex}"
        if unquote(made) == made:
            return made


class Profile(models.Model):
    """A named steering. `model_id` and `sae_id` are no foreign keys: a profile may be older than its model and SAE."""

    id = models.CharField(primary_key=True, max_length=50, default=new_id, editable=False)
    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    # A limit, since each activation copies the row to the history and a text column has none.
    description = models.TextField(
        null=True, blank=True, max_length=DESCRIPTION_LENGTH, validators=[MaxLengthValidator(DESCRIPTION_LENGTH)]
    )
    tags = TagsField(help_text="With a comma between two tags.")
    notes = models.TextField(
        blank=True, default="", db_default="", max_length=NOTES_LENGTH, validators=[MaxLengthValidator(NOTES_LENGTH)]
    )
    model_id = models.CharField("model", max_length=100, null=True, blank=True)
    sae_id = models.CharField("SAE", max_length=200, null=True, blank=True)
    layer = models.PositiveIntegerField(null=True, blank=True)
    sae_fingerprint = models.CharField("SAE fingerprint", max_length=64, blank=True)
    strengths = FeatureStrengthsField(default=dict, blank=True)
    more = MoreField()
    # Stored, since queries with an index on the function may call it for each row all the same: before a page far
    # behind, and where another condition is an alternative.
    strongest = models.GeneratedField(
        expression=Strongest("strengths"), output_field=models.FloatField(), db_persist=True, editable=False
    )
    highest = models.GeneratedField(
        expression=HighestFeature("strengths"), output_field=models.BigIntegerField(), db_persist=True, editable=False
    )
    is_active = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ProfileQuerySet.as_manager()
    history = History(excluded_fields=["strongest", "highest"])

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_active"], condition=Q(is_active=True), name="one_active_profile")
        ]
        indexes = [
            GinIndex(fields=["strengths"], name="profile_features"),  # "which profiles use this feature"
            models.Index(fields=["-updated_at"], name="profile_updated_at"),
            GinIndex(fields=["tags"], name="profile_tags"),
            models.Index(fields=["strongest"], name="profile_strongest"),
            models.Index(fields=["model_id", "sae_id", "layer", "highest"], name="profile_made_for"),
        ]
        permissions = [("activate_profile", "Can activate and deactivate profiles")]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, reason: str | None = None, **kwargs: Any) -> None:
        """Save after checks; new strengths of the active profile steer at once. `reason` is kept in the history.

        Raises InvalidProfile, InvalidSteering, ProfileExists, and IncompatibleProfile where the active
        profile would no longer fit.
        """
        state = SteeringState.objects.lock()
        before = Profile.objects.filter(pk=self.pk).first()
        self.is_active = before is not None and before.is_active
        self.check_rules()
        self._change_reason = reason
        super().save(*args, **kwargs)
        if before is not None and self.is_active and before.document != self.document:
            state.replace(self.document, reason=f"the active profile {self.name} was changed")

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the profile; deactivates it first."""
        self.deactivate()
        self._change_reason = None
        return super().delete(*args, **kwargs)

    @transaction.atomic
    def activate(self, *, reason: str = "") -> None:
        """Replace the live steering by this profile: it steers each request that names no steering of its own.

        The history of the live steering keeps `reason`.

        Where the profile is active and unchanged, nothing changes. Raises what `spec` raises; nothing changes then.
        """
        state = SteeringState.objects.lock()
        self.refresh_from_db()
        sae = SAE.objects.attached()
        self.spec()
        if self.is_active and not self.differs_from(state):
            return
        active = Profile.objects.active()
        if active is not None and active.pk != self.pk:
            active.mark(False, f"deactivated: {self.name} was activated")
        self.mark(True, "activated")
        state.write(self.document, True, sae, reason or f"profile {self.name} was activated")
        transaction.on_commit(partial(activated.send, Profile, door=current_door()))

    @transaction.atomic
    def deactivate(self, *, clear_steering: bool = True, why: str = "") -> None:
        """Deactivate this profile, if it is active; `clear_steering` also clears the live steering.

        The history keeps `why`, the cause of the deactivation in a few words.
        """
        state = SteeringState.objects.lock()
        self.refresh_from_db()
        if not self.is_active:
            return
        because = f": {why}" if why else ""
        self.mark(False, f"deactivated{because}")
        if clear_steering:
            state.clear(reason=f"profile {self.name} was deactivated{because}")

    @transaction.atomic
    def take_live_steering(self, version: int) -> None:
        """Copy the live steering, as seen in `version`, to this active profile; the live steering stays.

        Raises ProfileNotActive, StaleSteering, and what `save` raises.
        """
        state = SteeringState.objects.lock_seen(version)
        self._refresh_active()
        if self.document != state.document:
            self.strengths, self.more = state.document.split()
            self._change_reason = "updated by the live steering"
            self.check_rules()
            super().save()

    @transaction.atomic
    def revert_live_steering(self) -> None:
        """Discard changes of the live steering: steer by this active profile again. Raises ProfileNotActive."""
        SteeringState.objects.lock()
        self._refresh_active()
        self.activate(reason=f"reverted to profile {self.name}")

    def _refresh_active(self) -> None:
        self.refresh_from_db()
        if not self.is_active:
            raise ProfileNotActive(f"profile {self.name!r} is no longer active: look at the live steering again")

    def mark(self, active: bool, reason: str) -> None:
        """Save `is_active` alone, without the checks of `save`: the content does not change."""
        self.is_active, self._change_reason = active, reason
        super().save(update_fields=["is_active"])

    @transaction.atomic
    def duplicate(self, name: str | None = None) -> "Profile":
        """Save a copy under `name`, or under a free name like this profile's."""
        SteeringState.objects.lock()
        content = {field: getattr(self, field) for field in CONTENT}
        copy = Profile(**content | {"name": Profile.objects.free_name(self.name) if name is None else name})
        copy.save(reason=f"copied from {self.name}")
        return copy

    def check_compatible(self) -> None:
        """Refuse a profile that does not fit the current model and the attached SAE. Raises IncompatibleProfile."""
        self._check_fits(LanguageModel.objects.current(), SAE.objects.attached())

    def _check_fits(self, model: Any, sae: SAE | None) -> None:
        differences = list(self.differences(model, sae))
        if differences:
            why = in_one(differences, model, sae)
            raise IncompatibleProfile(f"profile {self.name!r} does not fit: {why}", differences=differences)

    def differences(self, model: Any, sae: SAE | None) -> Iterator[dict[str, Any]]:
        """Yield {field, got, expected} where the profile (got) and `model` or an attached SAE (expected) differ.

        `sae` is the main attached SAE. Parts are compared with it and with those attached beside it.
        """
        pairs: list[tuple[str, Any, Any]] = [
            ("model", self.model_id, model.name if model else "a current model (none is)")
        ]
        if not self.strengths and self.more.get("also"):
            pass  # all that it steers by is in its parts
        elif sae is None:
            pairs.append(("sae", self.sae_id, "an attached SAE (none is)"))
        else:
            pairs += [("sae", self.sae_id, sae.id), ("layer", self.layer, sae.layer)]
            if self.sae_fingerprint and sae.fingerprint:
                pairs.append(("sae_fingerprint", self.sae_fingerprint, sae.fingerprint))
            if (index := max(self.strengths, default=0)) >= sae.d_sae:
                pairs.append(("steering", f"feature {index}", f"features below {sae.d_sae}"))
        yield from ({"field": f, "got": got, "expected": here} for f, got, here in pairs if got != here)
        if self.more:
            yield from misfits(self.document, sae)

    @property
    def document(self) -> Steering:
        """What the profile steers by, as one document."""
        return Steering.join(self.strengths, self.more)

    def spec(self, intensity: float = 1.0, model: Any = None) -> SteeringSpec | None:
        """The profile as a snapshot for one request, at `intensity` times its own. Raises IncompatibleProfile.

        `model` is the current one, where it is known. Raises what `resolve` raises where it cannot steer all the same.
        """
        self._check_fits(model or LanguageModel.objects.current(), sae := SAE.objects.attached())
        return resolve(self.document.scaled(intensity), sae, field="", features_field="steering")

    def fitting_document(self) -> Steering:
        """`document`, of a profile that fits what is here now. Raises IncompatibleProfile."""
        self.check_compatible()
        return self.document

    def differs_from(self, state: SteeringState) -> bool:
        """True where the live steering was changed after this profile was activated."""
        same = state.document == self.document and state.sae_id in ("", self.sae_id)
        return not (state.enabled and same)

    @property
    def state(self) -> str:
        """A string that changes when the profile is edited, activated or deactivated."""
        return f"{self.updated_at.isoformat()}{', active' if self.is_active else ''}"

    @transaction.atomic
    def check_seen(self, states: Collection[str]) -> None:
        """Refuse a change that was decided on a state not in `states`; "" is the state of a missing profile.

        Takes the lock. Raises StaleProfile.
        """
        SteeringState.objects.lock()
        now = Profile.objects.filter(pk=self.pk).first()
        state = now.state if now else ""
        if state in states:
            return
        last = Profile.history.filter(id=self.pk).first()
        who, what = last.agent if last and last.agent else "Somebody", "changed" if now else "deleted"
        raise StaleProfile(f"{who} {what} this profile after you had opened it", state=state)

    def check_rules(self) -> None:
        """Refuse what `save` refuses; brings name and strengths into their stored form. Raises what `save` raises."""
        self.name = self.name.strip()
        if not self.name or len(self.name) > NAME_LENGTH:
            raise InvalidProfile(f"name: got {len(self.name)} characters, expected 1 to {NAME_LENGTH}", field="name")
        self.tags = parse_tags(self.tags)
        for field in ("name", "description", "notes", "model_id", "sae_id", "sae_fingerprint"):
            check_printable(getattr(self, field) or "", field)
        self._check_lengths()
        if Profile.objects.filter(name=self.name).exclude(pk=self.pk).exists():
            raise ProfileExists(f"name: a profile {self.name!r} already exists", field="name")
        sae = SAE.objects.filter(pk=self.sae_id).first() if self.sae_id else None
        d_sae = (sae and sae.d_sae) or None  # 0: files not read
        document = Steering.of_columns(self.strengths, self.more, d_sae=d_sae, features_field="steering")
        self.strengths, self.more = document.split()
        if self.is_active:
            self.check_compatible()

    def _check_lengths(self) -> None:
        """Refuse lengths and ranges that the columns refuse. Raises InvalidProfile."""
        try:
            self.clean_fields(exclude=["name", "tags", "strengths", "more"])
        except ValidationError as error:
            field, [message, *_] = next(iter(error.message_dict.items()))
            raise InvalidProfile(f"{field}: {message}", field=field) from error

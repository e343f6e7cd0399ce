"""Profiles: named steerings for one model, one SAE and one layer; at most one is active.

Every method that changes what steers takes `SteeringState.objects.lock()` first.
"""

import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from django.db import models, transaction
from django.db.models import Q

from profiles.errors import IncompatibleProfile, InvalidProfile, ProfileExists
from steering.errors import NoSAEAttached
from steering.fields import FeatureStrengthsField
from steering.models import SAE, SteeringState, current_model
from steering.spec import SteeringSpec
from steering.strengths import parse_strengths

NAME_LENGTH = 100


def new_id() -> str:
    return f"prof_{uuid.uuid4().hex}"


class ProfileQuerySet(models.QuerySet["Profile"]):
    def active(self) -> "Profile | None":
        """The profile that steers everybody, if one does."""
        return self.filter(is_active=True).first()

    @transaction.atomic
    def create_from(self, *, steering: Mapping[Any, Any] | None = None, **fields: Any) -> "Profile":
        """Create a profile; what is left out comes from now: the live steering, the current model, the attached SAE."""
        SteeringState.objects.lock()
        now = self.defaults()
        if "sae_id" in fields and fields["sae_id"] != now["sae_id"]:
            # The layer and the fingerprint here are those of another SAE.
            now |= {"layer": None, "sae_fingerprint": ""}
        if steering is not None:
            fields["steering"] = steering
        return self.create(**{**now, **fields})

    def defaults(self) -> dict[str, Any]:
        """The fields of a profile for what is here now: current model, attached SAE, live steering."""
        model, sae = current_model(), SAE.objects.attached()
        return {
            "model_id": model.name if model else None,
            "sae_id": sae.id if sae else None,
            "layer": sae.layer if sae else None,
            "sae_fingerprint": sae.fingerprint if sae else "",
            "steering": SteeringState.objects.load().values,
        }

    def save_current(self, **fields: Any) -> "Profile":
        """The live steering as a new profile. Raises NoSAEAttached where there is nothing it would be for."""
        if SAE.objects.attached() is None:
            raise NoSAEAttached("no SAE is attached: there is no live steering to save")
        return self.create_from(**fields)

    @transaction.atomic
    def deactivate_active(self, *, clear_steering: bool = True) -> None:
        """Deactivate the active profile, whichever it is."""
        SteeringState.objects.lock()
        if active := Profile.objects.active():
            active.deactivate(clear_steering=clear_steering)

    @transaction.atomic
    def delete(self) -> tuple[int, dict[str, int]]:
        SteeringState.objects.lock()
        if self.filter(is_active=True).exists():
            Profile.objects.deactivate_active()
        return super().delete()

    delete.queryset_only = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]


class Profile(models.Model):
    """A named steering. `model_id` and `sae_id` are names, not foreign keys: a profile may be here before they are."""

    id = models.CharField(primary_key=True, max_length=50, default=new_id, editable=False)
    name = models.CharField(max_length=NAME_LENGTH, unique=True)
    description = models.TextField(null=True, blank=True)
    model_id = models.CharField("model", max_length=100, null=True, blank=True)
    sae_id = models.CharField("SAE", max_length=200, null=True, blank=True)
    layer = models.PositiveIntegerField(null=True, blank=True)
    sae_fingerprint = models.CharField("SAE fingerprint", max_length=64, blank=True)
    steering = FeatureStrengthsField(default=dict, blank=True)
    is_active = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ProfileQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_active"], condition=Q(is_active=True), name="one_active_profile")
        ]
        permissions = [("activate_profile", "Can activate and deactivate profiles")]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save after checks; new strengths of the active profile steer at once.

        Raises InvalidProfile, InvalidSteering, ProfileExists, and IncompatibleProfile where the active
        profile would no longer fit.
        """
        state = SteeringState.objects.lock()
        before = Profile.objects.filter(pk=self.pk).first()
        self.is_active = before is not None and before.is_active
        self.check_rules()
        super().save(*args, **kwargs)
        if before is not None and self.is_active and before.steering != self.steering:
            state.replace(self.steering)

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete it; the active profile is deactivated first."""
        self.deactivate()
        return super().delete(*args, **kwargs)

    @transaction.atomic
    def activate(self) -> None:
        """Steer everybody by this profile, from the next request on: its strengths replace the live steering.

        Raises IncompatibleProfile, and changes nothing then.
        """
        state = SteeringState.objects.lock()
        self.refresh_from_db()
        self.check_compatible()
        Profile.objects.filter(is_active=True).exclude(pk=self.pk).update(is_active=False)
        Profile.objects.filter(pk=self.pk).update(is_active=True)
        self.is_active = True
        state.replace(self.steering)

    @transaction.atomic
    def deactivate(self, *, clear_steering: bool = True) -> None:
        """End its being active, and with `clear_steering` what steers now; on another profile this changes nothing."""
        state = SteeringState.objects.lock()
        if Profile.objects.filter(pk=self.pk, is_active=True).update(is_active=False) and clear_steering:
            state.clear()
        self.is_active = False

    def check_compatible(self) -> None:
        """Raise IncompatibleProfile with everything that keeps this profile from steering here."""
        differences = list(self._differences(current_model(), SAE.objects.attached()))
        if differences:
            told = "; ".join(f"{d['field']} is {d['got']}, expected {d['expected']}" for d in differences)
            raise IncompatibleProfile(f"profile {self.name!r} does not fit: {told}", differences=differences)

    def _differences(self, model: Any, sae: SAE | None) -> Iterator[dict[str, Any]]:
        """What the profile is for (got) beside what is here (expected)."""
        pairs: list[tuple[str, Any, Any]] = [
            ("model", self.model_id, model.name if model else "a current model (none is)")
        ]
        if sae is None:
            pairs.append(("sae", self.sae_id, "an attached SAE (none is)"))
        else:
            pairs += [("sae", self.sae_id, sae.id), ("layer", self.layer, sae.layer)]
            if self.sae_fingerprint and sae.fingerprint:
                pairs.append(("sae_fingerprint", self.sae_fingerprint, sae.fingerprint))
            if (index := max(self.steering, default=0)) >= sae.d_sae:
                pairs.append(("steering", f"feature {index}", f"features below {sae.d_sae}"))
        yield from ({"field": f, "got": got, "expected": here} for f, got, here in pairs if got != here)

    def spec(self) -> SteeringSpec | None:
        """This profile's steering as a snapshot for one request. Raises IncompatibleProfile."""
        self.check_compatible()
        return SteeringState(values=self.steering).spec(SAE.objects.attached())

    def differs_from_live(self) -> bool:
        """Whether the live steering was changed by hand since this profile was activated."""
        state = SteeringState.objects.load()
        return self.is_active and not (state.enabled and state.values == self.steering)

    def check_rules(self) -> None:
        """What `save` refuses, refused now; brings name and strengths into their stored form."""
        self.name = self.name.strip()
        if not self.name or len(self.name) > NAME_LENGTH:
            raise InvalidProfile(f"name: got {len(self.name)} characters, expected 1 to {NAME_LENGTH}", field="name")
        for field in ("name", "description", "model_id", "sae_id"):
            _refuse_control_characters(field, getattr(self, field) or "")
        if Profile.objects.filter(name=self.name).exclude(pk=self.pk).exists():
            raise ProfileExists(f"name: a profile {self.name!r} already exists", field="name")
        sae = SAE.objects.filter(pk=self.sae_id).first() if self.sae_id else None
        self.steering = parse_strengths(self.steering, d_sae=sae.d_sae if sae else None)
        if self.is_active:
            self.check_compatible()


def _refuse_control_characters(field: str, value: str) -> None:
    allowed = "\n\r\t" if field == "description" else ""
    for character in value:
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in allowed:
            raise InvalidProfile(f"{field}: got the character {character!r}, expected printable text", field=field)

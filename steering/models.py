"""The models of this app, and the live steering, which steers each request that names no steering of its own."""

from collections.abc import Mapping
from typing import Any

from django.db import models, transaction
from django.db.models import Q

from steering.errors import NoSAEAttached, NoSuchVersion, StaleSteering, SteeringUnavailable
from steering.features.models import Feature as Feature
from steering.features.models import FeatureExample as FeatureExample
from steering.fields import FeatureStrengthsField
from steering.history import History
from steering.labels.models import EditedLabel as EditedLabel
from steering.labels.models import FeatureLabel as FeatureLabel
from steering.language_models import LanguageModel as LanguageModel
from steering.saes import SAE as SAE
from steering.spec import SteeringSpec
from steering.strengths import Strength, parse_entries, parse_strengths


class SteeringStateManager(models.Manager["SteeringState"]):
    def load(self) -> "SteeringState":
        """The one row."""
        return self.get_or_create(pk=1)[0]

    def lock(self) -> "SteeringState":
        """Lock the row until the transaction ends; each change of current model, SAE, profile or steering begins so."""
        locked = self.select_for_update().filter(pk=1)
        return locked.first() or (self.load() and locked.get())

    def lock_seen(self, version: int) -> "SteeringState":
        """`lock`, for a change that was decided on `version`. Raises StaleSteering on another version."""
        state = self.lock()
        if state.version != version:
            raise StaleSteering(f"the live steering is version {state.version} by now, got {version}: look again")
        return state

    def past(self, version: int) -> Any:
        """A row of the history. Raises NoSuchVersion."""
        # PostgreSQL refuses a number that does not fit the bigint column
        past = self.model.history.filter(version=version).first() if version < 2**63 else None
        if past is None:
            raise NoSuchVersion(f"the live steering has no version {version}")
        return past


class SteeringState(models.Model):
    """The live steering: one row. `version` counts its changes."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    enabled = models.BooleanField(default=False)
    strengths = FeatureStrengthsField(default=dict, blank=True)
    sae_id = models.CharField(max_length=200, blank=True, editable=False, help_text="The SAE whose features these are.")
    # The index is for the history, which has a row for each version; simple-history takes it over.
    version = models.PositiveBigIntegerField(default=0, editable=False, db_index=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = SteeringStateManager()
    history = History()
    _change_reason: str | None = None

    class Meta:
        verbose_name = verbose_name_plural = "live steering"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_steering_state")]

    def __str__(self) -> str:
        return f"{len(self.strengths)} features, {'on' if self.enabled else 'off'}"

    def current_spec(self, sae: SAE | None) -> SteeringSpec | None:
        """The snapshot for a request that names no steering, None if unsteered. Raises what `spec` raises."""
        return self.spec(sae) if self.enabled else None

    def spec(self, sae: SAE | None) -> SteeringSpec | None:
        """The strengths as a spec of `sae`, None without strengths. Raises SteeringUnavailable on another SAE."""
        if not self.strengths:
            return None
        if sae is None:
            raise SteeringUnavailable("steering is enabled, but no SAE is attached: attach one or clear the steering")
        if self.sae_id not in ("", sae.id):  # "": an unsaved row, made of the strengths of one request
            raise SteeringUnavailable(f"the features are of SAE {self.sae_id}, and {sae} is attached: set them again")
        if (index := max(self.strengths)) >= sae.d_sae:
            raise SteeringUnavailable(f"feature {index} is out of range: SAE {sae} has {sae.d_sae} features")
        return SteeringSpec.build(sae.id, sae.fingerprint, sae.layer, sae.hook_name, self.strengths, sae.place)

    # Each change takes the lock, changes the fresh row, and copies it to this instance; the history keeps `reason`.

    def replace(self, strengths: Mapping[Any, Any], enabled: bool = True, *, reason: str | None = None) -> None:
        """Steer by `strengths` and nothing else. Raises InvalidSteering or NoSAEAttached."""
        self._change(lambda _old: strengths, enabled, reason)

    def set_features(self, changes: Mapping[Any, Any]) -> None:
        """Set single features; a strength of 0 removes the feature. Raises InvalidSteering or NoSAEAttached."""
        self._change(lambda old: {**old, **parse_entries(changes)})

    def clear(self, *, reason: str | None = "cleared") -> None:
        """Remove all strengths and disable the steering."""
        self._change(lambda _old: {}, False, reason)

    def enable(self) -> None:
        self._change(lambda old: old, True, "enabled")

    def disable(self) -> None:
        self._change(lambda old: old, False, "disabled")

    @transaction.atomic
    def restore(self, version: int) -> None:
        """Steer as in an earlier version. Raises NoSuchVersion, SteeringUnavailable, or what `replace` raises."""
        SteeringState.objects.lock()
        past = SteeringState.objects.past(version)
        sae = SAE.objects.attached()
        if past.strengths and (sae is None or sae.id != past.sae_id):
            here = f"{sae} is" if sae else "none is"
            raise SteeringUnavailable(f"version {version} steers features of SAE {past.sae_id}, and {here} attached")
        self.replace(past.strengths, past.enabled, reason=f"version {version} restored")

    @transaction.atomic
    def _change(self, change: Any, enabled: bool | None = None, reason: str | None = None) -> None:
        fresh, sae = SteeringState.objects.lock(), SAE.objects.attached()
        strengths = check_strengths(change(fresh.strengths), sae)
        fresh.write(strengths, fresh.enabled if enabled is None else enabled, sae, reason)
        self.strengths, self.enabled, self.sae_id = fresh.strengths, fresh.enabled, fresh.sae_id
        self.version, self.updated_at = fresh.version, fresh.updated_at

    def write(self, strengths: dict[int, Strength], enabled: bool, sae: SAE | None, reason: str | None) -> None:
        """Write the next version. The caller holds the lock, and has checked `strengths` against the attached SAE."""
        self.strengths, self.enabled, self.version = strengths, enabled, self.version + 1
        self.sae_id = sae.id if sae and strengths else ""
        self._change_reason = reason
        self.save(force_update=True)


def check_strengths(strengths: Mapping[Any, Any], sae: SAE | None) -> dict[int, Strength]:
    """Parse `strengths` for the attached SAE. Raises InvalidSteering, and NoSAEAttached where a feature has no SAE."""
    parsed = parse_strengths(strengths, d_sae=sae.d_sae if sae else None)
    if parsed and sae is None:
        raise NoSAEAttached("no SAE is attached: attach one before you set features")
    return parsed

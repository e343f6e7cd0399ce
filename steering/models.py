"""The models of this app, and the live steering, which steers each request that names no steering of its own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from django.db import models, transaction
from django.db.models import Q

from steering.document import Steering
from steering.document.resolution import resolve
from steering.document.steering import parse_intensity
from steering.errors import NoSAEAttached, NoSuchVersion, Refused, StaleSteering, SteeringUnavailable
from steering.features.models import Feature as Feature
from steering.features.models import FeatureExample as FeatureExample
from steering.fields import FeatureStrengthsField, MoreField
from steering.history import History
from steering.labels.models import EditedLabel as EditedLabel
from steering.labels.models import FeatureLabel as FeatureLabel
from steering.language_models import LanguageModel as LanguageModel
from steering.saes import SAE as SAE
from steering.spec import SteeringSpec
from steering.strengths import parse_entries, parse_values


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
            raise StaleSteering(f"the live steering is at version {state.version} now, got {version}: look at it again")
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
    more = MoreField()
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
        return f"{self.document.number} features, {'on' if self.enabled else 'off'}"

    @property
    def document(self) -> Steering:
        """What steers, as one document."""
        return Steering.join(self.strengths, self.more)

    def current_spec(self, sae: SAE | None) -> SteeringSpec | None:
        """The snapshot for a request that names no steering, None if unsteered. Raises what `spec` raises."""
        return self.spec(sae) if self.enabled else None

    def spec(self, sae: SAE | None, intensity: float = 1.0) -> SteeringSpec | None:
        """The steering as a spec, at `intensity` times its own; its own features are of `sae`. None is unsteered.

        Raises SteeringUnavailable on another SAE, and where the SAEs are others than when the steering was set.
        """
        if not (self.strengths or self.more):
            return None
        self.check_sae(sae)
        try:
            return resolve(self.document.scaled(intensity), sae, field="", features_field="steering")
        except Refused as error:
            raise SteeringUnavailable(str(error)) from error

    def check_sae(self, sae: SAE | None) -> None:
        """Raises SteeringUnavailable where the own features are not of `sae`."""
        if not self.strengths:
            return
        if sae is None:
            raise SteeringUnavailable("steering is enabled, but no SAE is attached: attach one or clear the steering")
        if self.sae_id not in ("", sae.id):
            raise SteeringUnavailable(f"the features are of SAE {self.sae_id}, and {sae} is attached: set them again")
        if (index := max(self.strengths)) >= sae.d_sae:
            raise SteeringUnavailable(f"feature {index} is out of range: SAE {sae} has {sae.d_sae} features")

    # Each change takes the lock, changes the fresh row, and copies it to this instance; the history keeps `reason`.

    def replace(
        self, steering: Steering | Mapping[Any, Any], enabled: bool = True, *, reason: str | None = None
    ) -> None:
        """Steer by a document, or by strengths, and nothing else. Raises what `checked` raises."""
        self._change(lambda _old: steering, enabled, reason)

    def set_features(self, changes: Mapping[Any, Any]) -> None:
        """Set single own features; a strength of 0 removes the feature. Raises what `checked` raises."""
        self._change(lambda old: old.with_features({**old.features, **parse_entries(changes)}))

    def set_intensity(self, intensity: object) -> None:
        """Set the intensity, 0 to 2, of the live steering. Raises what `parse_intensity` and `checked` raise."""
        self._change(lambda old: replace(old, intensity=parse_intensity(intensity)), reason="intensity set")

    def clear(self, *, reason: str | None = "cleared") -> None:
        """Clear and disable the live steering."""
        self._change(lambda _old: Steering(), False, reason)

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
        self.replace(Steering.join(past.strengths, past.more), past.enabled, reason=f"restored version {version}")

    @transaction.atomic
    def _change(
        self,
        change: Callable[[Steering], Steering | Mapping[Any, Any]],
        enabled: bool | None = None,
        reason: str | None = None,
    ) -> None:
        fresh, sae = SteeringState.objects.lock(), SAE.objects.attached()
        enabled = fresh.enabled if enabled is None else enabled
        document = checked(change(fresh.document), sae, steers=enabled)
        fresh.write(document, enabled, sae, reason)
        self.strengths, self.more = fresh.strengths, fresh.more
        self.enabled, self.sae_id = fresh.enabled, fresh.sae_id
        self.version, self.updated_at = fresh.version, fresh.updated_at

    def write(self, document: Steering, enabled: bool, sae: SAE | None, reason: str | None) -> None:
        """Write the next version. The caller holds the lock, and has checked `document` against the attached SAEs."""
        self.strengths, self.more = document.split()
        self.enabled, self.version = enabled, self.version + 1
        self.sae_id = sae.id if sae and self.strengths else ""
        self._change_reason = reason
        self.save(force_update=True)


def checked(steering: Steering | Mapping[Any, Any], sae: SAE | None, *, steers: bool = True) -> Steering:
    """A document, or that of strengths, whose own features are of `sae`, the main attached SAE.

    Raises InvalidSteering, NoSAEAttached where an own feature has no SAE, and where it `steers` what `resolve` raises.
    """
    if isinstance(steering, Steering):
        strengths, more = steering.split()
        document = Steering.of_columns(strengths, more, d_sae=sae.d_sae if sae else None, features_field="steering")
    else:
        own = parse_values(steering, d_sae=sae.d_sae if sae else None)
        document = Steering().with_features(own)
    if document.features and sae is None:
        raise NoSAEAttached("no SAE is attached: attach one before you set features")
    if steers and not document.is_plain:
        resolve(document, sae, field="", features_field="steering")
    return document

"""SAEs, and the live steering: what steers a request that chooses nothing else."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models, transaction
from django.db.models import Q

from steering.errors import NoSAEAttached, SteeringUnavailable
from steering.fields import FeatureStrengthsField
from steering.spec import SteeringSpec
from steering.strengths import parse_strengths

if TYPE_CHECKING:
    from inference.models import LanguageModel


def current_model() -> "LanguageModel | None":
    """The served model. Looked up by name: `inference` imports this app, never the other way round."""
    model: Any = apps.get_model("inference", "LanguageModel")
    current: LanguageModel | None = model.objects.current()
    return current


class SAEManager(models.Manager["SAE"]):
    def attached(self) -> "SAE | None":
        """The SAE whose decoder directions steer, if one is attached."""
        return self.filter(is_attached=True).first()


class SAE(models.Model):
    """A sparse autoencoder from a Hugging Face hub id or a folder; at most one is attached."""

    class Status(models.TextChoices):
        REGISTERED = "registered"
        DOWNLOADING = "downloading"
        READY = "ready"
        ERROR = "error"

    id = models.SlugField(primary_key=True, max_length=200)
    source = models.CharField(max_length=500, help_text="A hub id or a folder.")
    revision = models.CharField(max_length=100, blank=True)
    path = models.CharField(max_length=500, blank=True, help_text="Where in the repository or folder it lies.")
    format = models.CharField(max_length=40, default="saelens")
    architecture = models.CharField(max_length=40, blank=True)
    d_in = models.PositiveIntegerField(help_text="Width of the residual stream it was trained on.")
    d_sae = models.PositiveIntegerField(help_text="Number of features.")
    layer = models.PositiveIntegerField(help_text="Zero-based decoder block of its hook point.")
    hook_name = models.CharField(max_length=100)
    model_name = models.CharField(max_length=100, blank=True, help_text="The model it was trained on.")
    fingerprint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of its decoder.")
    is_attached = models.BooleanField(default=False, editable=False)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.REGISTERED, editable=False)
    progress = models.FloatField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = SAEManager()

    class Meta:
        verbose_name = "SAE"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["is_attached"], condition=Q(is_attached=True), name="one_attached_sae")
        ]

    def __str__(self) -> str:
        return self.id


class SteeringStateManager(models.Manager["SteeringState"]):
    def load(self) -> "SteeringState":
        """The one row."""
        return self.get_or_create(pk=1)[0]

    def lock(self) -> "SteeringState":
        """The one row, locked until the transaction ends: every change of what steers takes this lock first."""
        self.load()
        return self.select_for_update().get(pk=1)

    @transaction.atomic
    def current_spec(self) -> SteeringSpec | None:
        """The snapshot of the live steering, None where nothing steers.

        Raises SteeringUnavailable when something should steer and cannot.
        """
        state = self.load()
        return state.spec(SAE.objects.attached()) if state.enabled else None


class SteeringState(models.Model):
    """The live steering: one row. `version` counts its changes."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    enabled = models.BooleanField(default=False)
    values = FeatureStrengthsField(default=dict, blank=True)
    version = models.PositiveBigIntegerField(default=0, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = SteeringStateManager()

    class Meta:
        verbose_name = verbose_name_plural = "live steering"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_steering_state")]

    def __str__(self) -> str:
        return f"{len(self.values)} features, {'on' if self.enabled else 'off'}"

    def spec(self, sae: SAE | None) -> SteeringSpec | None:
        """These values as a spec of `sae`."""
        if not self.values:
            return None
        if sae is None:
            raise SteeringUnavailable("steering is enabled, but no SAE is attached: attach one or clear the steering")
        if (index := max(self.values)) >= sae.d_sae:
            raise SteeringUnavailable(f"feature {index} is out of range: SAE {sae} has {sae.d_sae} features")
        return SteeringSpec.build(sae.id, sae.fingerprint, sae.layer, sae.hook_name, self.values)

    # Each change takes the lock, works on the fresh row, and brings this instance up to it.

    def replace(self, values: Mapping[Any, Any], enabled: bool = True) -> None:
        """Steer by `values` and nothing else. Raises InvalidSteering or NoSAEAttached."""
        self._change(lambda _old: values, enabled)

    def set_features(self, changes: Mapping[Any, Any]) -> None:
        """Set single features; a strength of 0 removes one."""
        self._change(lambda old: {str(index): value for index, value in [*old.items(), *changes.items()]})

    def clear(self) -> None:
        """Steer by nothing."""
        self._change(lambda _old: {}, False)

    def enable(self) -> None:
        self._change(lambda old: old, True)

    def disable(self) -> None:
        self._change(lambda old: old, False)

    @transaction.atomic
    def _change(self, change: Any, enabled: bool | None = None) -> None:
        fresh = SteeringState.objects.lock()
        fresh.values = check_values(change(fresh.values))
        fresh.enabled = fresh.enabled if enabled is None else enabled
        fresh.version += 1
        fresh.save()
        self.refresh_from_db()


def check_values(values: Mapping[Any, Any]) -> dict[int, float]:
    """`values` parsed against the attached SAE, without which only nothing can be set."""
    sae = SAE.objects.attached()
    parsed = parse_strengths(values, d_sae=sae.d_sae if sae else None)
    if parsed and sae is None:
        raise NoSAEAttached("no SAE is attached: attach one before you set features")
    return parsed

"""The language models that can be served; at most one of them is current, and it may have an SAE attached."""

import hashlib

from django.db import models, transaction
from django.db.models import Q
from django.utils.text import slugify

from profiles.models import Profile
from steering.errors import SteeringError
from steering.models import SAE, SteeringState


class NoCurrentModel(SteeringError):
    """Something needs the served model, and none is current."""

    code = "no_current_model"
    status = 409


class SAEDoesNotFit(SteeringError):
    """An SAE that was not trained on the current model's residual stream."""

    code = "sae_incompatible"
    status = 409


class LanguageModelManager(models.Manager["LanguageModel"]):
    def current(self) -> "LanguageModel | None":
        """The model that is served, if one is."""
        return self.filter(is_current=True).first()


class LanguageModel(models.Model):
    """A causal language model from a Hugging Face hub id or a folder."""

    class Status(models.TextChoices):
        REGISTERED = "registered"
        LOADING = "loading"
        READY = "ready"
        ERROR = "error"

    name = models.CharField(max_length=100, unique=True, help_text="The model id that API clients use.")
    source = models.CharField(max_length=500, help_text="A hub id or a folder.")
    revision = models.CharField(max_length=100, blank=True)
    dtype = models.CharField(max_length=20, default="auto")
    device = models.CharField(max_length=20, default="auto")
    is_current = models.BooleanField(default=False, editable=False)
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.REGISTERED, editable=False)
    progress = models.FloatField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    d_model = models.PositiveIntegerField(help_text="Width of the residual stream.")
    num_layers = models.PositiveIntegerField(help_text="Number of decoder blocks.")
    context_length = models.PositiveIntegerField(help_text="Positions, prompt and answer together.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = LanguageModelManager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_current"], condition=Q(is_current=True), name="one_current_model")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def queue(self) -> str:
        """The Celery queue of this model's workers."""
        # A slug can be read, but two names can have one: the hash tells them apart.
        return f"millm.{slugify(self.name)}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @transaction.atomic
    def make_current(self) -> None:
        """Serve this model from now on. What steered the one before is detached and deactivated."""
        SteeringState.objects.lock()
        if LanguageModel.objects.filter(pk=self.pk, is_current=True).exists():
            return
        detach_sae()
        LanguageModel.objects.filter(is_current=True).update(is_current=False)
        LanguageModel.objects.filter(pk=self.pk).update(is_current=True)
        self.is_current = True

    @transaction.atomic
    def attach(self, sae: SAE) -> None:
        """Attach `sae` to this model, which must be current, in place of the one attached before.

        Raises NoCurrentModel or SAEDoesNotFit and changes nothing then.
        """
        SteeringState.objects.lock()
        self.refresh_from_db()
        if not self.is_current:
            raise NoCurrentModel(f"{self} is not the current model: make it current first")
        self._check_fits(sae)
        if not SAE.objects.filter(pk=sae.pk, is_attached=True).exists():
            detach_sae()
            SAE.objects.filter(pk=sae.pk).update(is_attached=True)
        sae.is_attached = True

    def _check_fits(self, sae: SAE) -> None:
        if sae.d_in != self.d_model:
            raise SAEDoesNotFit(f"SAE {sae.pk} has d_in {sae.d_in}: expected d_model {self.d_model} of {self}")
        if sae.layer >= self.num_layers:
            raise SAEDoesNotFit(f"SAE {sae.pk} is for layer {sae.layer}: {self} has layers 0 to {self.num_layers - 1}")


@transaction.atomic
def detach_sae() -> None:
    """Detach the attached SAE, if there is one: the active profile and the live steering end with it."""
    state = SteeringState.objects.lock()
    Profile.objects.deactivate_active(clear_steering=True)
    state.refresh_from_db()
    if state.values or state.enabled:
        state.clear()
    SAE.objects.filter(is_attached=True).update(is_attached=False)

"""Language models: where their files are, how they are loaded, and which one is current."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils.text import slugify

from steering.errors import Refused
from steering.saes import SAE

DTYPES = ("auto", "float32", "bfloat16", "float16")
ANSWER_FORMS = {
    "": "by its chat template",
    "none": "none: calls and reasoning are not found",
    "think": "reasoning alone",
    "hermes": "Hermes, Qwen 2.5 and 3, SmolLM3, Granite 4",
    "qwen3_coder": "Qwen3-Coder, Qwen 3.5",
    "llama3": "Llama 3",
    "mistral": "Mistral",
    "phi4": "Phi-4",
    "granite": "Granite 3",
    "deepseek": "DeepSeek",
    "gemma4": "Gemma 4",
}
"""The forms in which models write calls of tools and reasoning, with their names for people."""
DEVICE = re.compile(r"(auto|cpu|mps|cuda(:\d{1,2})?)\Z")
Row = TypeVar("Row", bound="LanguageModel")


class InvalidModel(Refused):
    """A name or an option of a model that breaks a rule of its column."""

    code = "invalid_model"


class ModelExists(Refused):
    """A name that another model has."""

    code = "model_exists"
    status = 409


class ModelInUse(Refused):
    """The current model cannot be deleted."""

    code = "model_in_use"
    status = 409


class SAEDoesNotFit(Refused):
    """An SAE that was not trained on the model's residual stream."""

    code = "sae_incompatible"
    status = 409


class SAENotReady(Refused):
    """An SAE whose files are not on this machine, or cannot be read."""

    code = "sae_not_ready"
    status = 409


class LanguageModelManager(models.Manager[Row]):
    def current(self) -> Row | None:
        """The current model, which answers requests; None where no model is current."""
        return self.filter(is_current=True).first()


class LanguageModel(models.Model):
    """A causal language model from a Hugging Face hub id or a folder; at most one is current.

    The row knows nothing of profiles and of workers: see `profiles.current` and `inference.models.LanguageModel`.
    """

    name = models.CharField(max_length=100, unique=True, help_text="The model id that API clients use.")
    source = models.CharField(max_length=500, help_text="A hub id or a folder.")
    revision = models.CharField(max_length=100, blank=True)
    dtype = models.CharField(max_length=20, default="auto", choices=[(one, one) for one in DTYPES])
    device = models.CharField(
        max_length=20,
        default="auto",
        help_text="auto, cpu, cuda, cuda:N or mps",
        validators=[RegexValidator(DEVICE, "expected auto, cpu, cuda, cuda:N or mps")],
    )
    answer_form = models.CharField(
        max_length=20,
        default="",
        db_default="",
        blank=True,
        choices=[*ANSWER_FORMS.items()],
        help_text="How calls of tools and reasoning are found in answers.",
    )
    model_type = models.CharField("architecture", max_length=40, blank=True, editable=False)
    is_current = models.BooleanField("current", default=False, editable=False)
    d_model = models.PositiveIntegerField(help_text="Width of the residual stream.")
    num_layers = models.PositiveIntegerField(help_text="Number of decoder blocks.")
    context_length = models.PositiveIntegerField(help_text="Positions, prompt and answer together.")
    sampling_defaults = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        editable=False,
        help_text="The sampling of requests that name none, from the model's own files.",
    )
    load_count = models.PositiveIntegerField(default=0, editable=False, help_text="How often a load was asked for.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[LanguageModelManager[Any]] = LanguageModelManager()
    local_path: Path | None = None
    """The folder of a hub model's files on this machine; set by the worker that fetched them."""

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_current"], condition=Q(is_current=True), name="one_current_model")
        ]
        default_permissions = ()  # those of the proxy model `inference.LanguageModel` count

    def __str__(self) -> str:
        return self.name

    @property
    def load_id(self) -> str:
        """16 hex digits that name the wanted load: the files, the options, and the request to load."""
        wanted = [self.name, self.source, self.revision, self.dtype, self.device, self.load_count]
        return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]

    @property
    def version(self) -> str:
        """The source and the options that determine the model's answers, as one string."""
        return "|".join([self.name, self.source, self.revision, self.dtype])

    @property
    def path(self) -> Path:
        """The folder of the files."""
        return self.local_path or Path(self.source).expanduser()

    @property
    def queue(self) -> str:
        """The Celery queue of this model's workers."""
        # The slug is for people. Two names can have the same slug, so the hash keeps their queues apart.
        return f"millm.{slugify(self.name)}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row; files stay. Raises ModelInUse."""
        from steering.models import SteeringState

        SteeringState.objects.lock()
        if fresh := LanguageModel.objects.filter(pk=self.pk).first():
            fresh.check_deletable()
        return super().delete(*args, **kwargs)

    def check_deletable(self) -> None:
        """Raises ModelInUse."""
        if self.is_current:
            raise ModelInUse(f"{self} cannot be deleted while it is the current model. Unload it first")

    def check_rules(self) -> None:
        """Refuse a name or an option that breaks a rule of its column. Raises InvalidModel or ModelExists."""
        try:
            self.clean_fields(exclude=["d_model", "num_layers", "context_length"])
        except ValidationError as error:
            field, [message, *_] = next(iter(error.message_dict.items()))
            raise InvalidModel(f"{field}: {message}", field=field) from error
        if LanguageModel.objects.filter(name=self.name).exclude(pk=self.pk).exists():
            raise ModelExists(f"name: a model {self.name!r} already exists", field="name")

    def check_fits(self, sae: SAE) -> None:
        """Refuse an SAE that cannot steer this model. Raises SAENotReady or SAEDoesNotFit."""
        if sae.status != SAE.Status.READY:
            why = f": {sae.error}" if sae.error else ""
            raise SAENotReady(f"SAE {sae.pk} is {sae.status}{why}: expected ready")
        if sae.d_in != self.d_model:
            raise SAEDoesNotFit(f"SAE {sae.pk} has d_in {sae.d_in}: expected d_model {self.d_model} of {self}")
        if (layer := max([sae.layer, *sae.layers])) >= self.num_layers:
            raise SAEDoesNotFit(f"SAE {sae.pk} is for layer {layer}: {self} has layers 0 to {self.num_layers - 1}")

"""The language models that can be served; at most one of them is current, and it may have an SAE attached."""

import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import IntegrityError, models, transaction
from django.db.models import F, Q
from django.utils.text import slugify

from inference.model_config import Description, check_files, describe
from inference.model_files import model_folder
from inference.states import Loadable, LoadableQuerySet, Status
from profiles.models import Profile
from steering.errors import NothingToCancel, SteeringError
from steering.models import SAE, SteeringState

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE = re.compile(r"(auto|cpu|mps|cuda(:\d{1,2})?)\Z")


class NoCurrentModel(SteeringError):
    """Something needs the served model, and none is current."""

    code = "no_current_model"
    status = 409


class SAEDoesNotFit(SteeringError):
    """An SAE that was not trained on the current model's residual stream."""

    code = "sae_incompatible"
    status = 409


class SAENotReady(SteeringError):
    """An SAE whose files are not here, or cannot be read."""

    code = "sae_not_ready"
    status = 409


class ModelInUse(SteeringError):
    """The served model cannot be deleted."""

    code = "model_in_use"
    status = 409


class ModelExists(SteeringError):
    code = "model_exists"
    status = 409


class LanguageModelManager(models.Manager["LanguageModel"]):
    def get_queryset(self) -> "models.QuerySet[LanguageModel]":
        return LoadableQuerySet(self.model, using=self._db)

    def current(self) -> "LanguageModel | None":
        """The model that is served, if one is."""
        return self.filter(is_current=True).first()

    def register(
        self, source: str, *, name: str = "", revision: str = "", anywhere: bool = False, **options: str
    ) -> "LanguageModel":
        """A new row for the model at `source`, from its `config.json`; nothing is downloaded yet.

        `name` is the last part of the source where it is empty; `options` are dtype and device; `anywhere` allows
        folders outside MILLM_MODEL_DIRS. Raises ModelExists, InvalidModel, or what `describe` raises.
        """
        made = self.model(name=name or PurePath(source).name, source=source, revision=revision, **options)
        made.check_rules()
        for field, value in asdict(describe(source, revision, anywhere=anywhere)).items():
            setattr(made, field, value)
        try:
            with transaction.atomic():
                made.save(force_insert=True)
        except IntegrityError as error:  # somebody registered it while its description was read
            raise ModelExists(f"name: a model {made.name!r} already exists", field="name") from error
        return made


class InvalidModel(SteeringError):
    """A name or an option of a model that cannot be."""

    code = "invalid_model"


class LanguageModel(Loadable):
    """A causal language model from a Hugging Face hub id or a folder."""

    Status = Status

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
    model_type = models.CharField("architecture", max_length=40, blank=True, editable=False)
    is_current = models.BooleanField(default=False, editable=False)
    d_model = models.PositiveIntegerField(help_text="Width of the residual stream.")
    num_layers = models.PositiveIntegerField(help_text="Number of decoder blocks.")
    context_length = models.PositiveIntegerField(help_text="Positions, prompt and answer together.")
    load_count = models.PositiveIntegerField(default=0, editable=False, help_text="How often a load was asked for.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = LanguageModelManager()
    local_path: Path | None = None
    """Where this machine has the files of a model from the hub; known to the worker that fetched them."""

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_current"], condition=Q(is_current=True), name="one_current_model")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def load_id(self) -> str:
        """The load that is wanted: what is loaded, and the request for it. Another one of these is another load."""
        wanted = [self.name, self.source, self.revision, self.dtype, self.device, self.load_count]
        return hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]

    @property
    def why_unserved(self) -> str:
        """The reason why no worker answers for it, in words, as far as its row says."""
        if self.status == self.Status.ERROR:
            return f"{self} failed to load: {self.error}"
        share = "" if self.progress is None else f", {self.progress:.0%}"
        is_gone = self.status == self.Status.READY
        return f"No worker has {self} ready: " + ("start one." if is_gone else f"it is {self.status}{share}.")

    @property
    def version(self) -> str:
        """What makes its answers: where it is from, and how it is loaded."""
        return "|".join([self.name, self.source, self.revision, self.dtype])

    @property
    def path(self) -> Path:
        """Where the files are."""
        return self.local_path or Path(self.source).expanduser()

    @property
    def queue(self) -> str:
        """The Celery queue of this model's workers."""
        # A slug can be read, but two names can have one: the hash tells them apart.
        return f"millm.{slugify(self.name)}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row; files stay. Raises ModelInUse."""
        SteeringState.objects.lock()
        if fresh := LanguageModel.objects.filter(pk=self.pk).first():
            fresh.check_deletable()
        return super().delete(*args, **kwargs)

    def check_deletable(self) -> None:
        """Raises ModelInUse."""
        if self.is_current:
            raise ModelInUse(f"{self} is the current model: unload it first")

    def check_rules(self) -> None:
        """Refuse a name or an option that cannot be. Raises InvalidModel or ModelExists."""
        try:
            self.clean_fields(exclude=["d_model", "num_layers", "context_length"])
        except ValidationError as error:
            field, [message, *_] = next(iter(error.message_dict.items()))
            raise InvalidModel(f"{field}: {message}", field=field) from error
        if LanguageModel.objects.filter(name=self.name).exclude(pk=self.pk).exists():
            raise ModelExists(f"name: a model {self.name!r} already exists", field="name")

    def load(self) -> None:
        """Serve this model from now on: workers fetch and load it, and say how far they are.

        A load that is under way goes on; one that has come to its end, in whatever way, begins anew. Raises what
        `check_files` raises, and changes nothing then.
        """
        self.check_files()
        self.refresh_from_db()
        goes_on = self.is_current and self.is_under_way  # asks Redis, for which no transaction should wait
        with transaction.atomic():
            self.make_current()
            if not goes_on:  # and nobody asked for it meanwhile
                rows = LanguageModel.objects.filter(pk=self.pk, load_count=self.load_count)
                rows.update(load_count=F("load_count") + 1)
        self.refresh_from_db()

    def check_files(self) -> None:
        """Refuse files on this machine that no worker could load; those of the hub that are not here come whole.

        Raises BrokenWeights, BadSource, or ModelChanged where they are of another model than the one registered.
        """
        if folder := model_folder(self):
            known = Description(self.model_type, self.d_model, self.num_layers, self.context_length)
            check_files(folder, known)

    @transaction.atomic
    def change_options(self, **options: str) -> bool:
        """Load it by these `dtype` and `device` from now on; returns whether workers do so now. Raises InvalidModel."""
        SteeringState.objects.lock()
        self.refresh_from_db()
        changed = [name for name, value in options.items() if getattr(self, name) != value]
        for name in changed:
            setattr(self, name, options[name])
        self.check_rules()
        if not changed:
            return False
        self.save(update_fields=[*changed, "updated_at"])  # these alone: a worker may be writing the others just now
        if self.is_current:
            self.load()
        return self.is_current

    @transaction.atomic
    def unload(self) -> None:
        """Serve it no more; a download or a load that is under way ends."""
        SteeringState.objects.lock()
        self.refresh_from_db()
        if self.is_current:
            detach_sae()
        LanguageModel.objects.filter(pk=self.pk).update(is_current=False)
        self.refresh_from_db()

    def cancel(self) -> None:
        """End the load that is under way. Raises NothingToCancel where it has come to its end, or none is known."""
        self.refresh_from_db()
        if not (self.is_current and self.is_under_way):
            told = self.error if self.status == Status.UNKNOWN else f"{self} is {self.status} already"
            raise NothingToCancel(f"{told.rstrip('.')}: nothing was cancelled")
        self.unload()

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
        sae.refresh_from_db()
        self.check_fits(sae)
        if not SAE.objects.filter(pk=sae.pk, is_attached=True).exists():
            detach_sae()
            SAE.objects.filter(pk=sae.pk).update(is_attached=True)
        sae.is_attached = True

    def check_fits(self, sae: SAE) -> None:
        """Raise SAENotReady or SAEDoesNotFit where `sae` cannot steer this model."""
        if sae.status != SAE.Status.READY:
            told = f": {sae.error}" if sae.error else ""
            raise SAENotReady(f"SAE {sae.pk} is {sae.status}{told}: expected ready")
        if sae.d_in != self.d_model:
            raise SAEDoesNotFit(f"SAE {sae.pk} has d_in {sae.d_in}: expected d_model {self.d_model} of {self}")
        if sae.layer >= self.num_layers:
            raise SAEDoesNotFit(f"SAE {sae.pk} is for layer {sae.layer}: {self} has layers 0 to {self.num_layers - 1}")


def attach_sae(sae: SAE) -> None:
    """Attach `sae` to the current model. Raises NoCurrentModel, or what `LanguageModel.attach` raises."""
    model = LanguageModel.objects.current()
    if model is None:
        raise NoCurrentModel("no model is current: load one first")
    model.attach(sae)


@transaction.atomic
def detach_sae(only: SAE | None = None) -> None:
    """Detach the attached SAE, if there is one: the active profile and the live steering end with it.

    Where `only` is given and another one is attached, nothing changes.
    """
    state = SteeringState.objects.lock()
    if only is not None and not SAE.objects.filter(pk=only.pk, is_attached=True).exists():
        return
    Profile.objects.deactivate_active(clear_steering=True)
    state.refresh_from_db()
    if state.values or state.enabled:
        state.clear()
    SAE.objects.filter(is_attached=True).update(is_attached=False)

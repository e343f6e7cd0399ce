"""SAEs and vector sets: where their files are, what the files say, and which ones are attached."""

from pathlib import PurePosixPath
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.text import slugify

from steering.errors import NothingToCancel, Refused
from steering.formats import VECTORS, SAEConfig, read_config
from steering.formats.control_vector import SUFFIX
from steering.hub.sources import is_folder, local_folder
from steering.spec import SAEPlace
from steering.statements import may_take_long


class SAEInUse(Refused):
    """An attached SAE cannot be deleted."""

    code = "sae_in_use"
    status = 409


class SAEExists(Refused):
    """An id that another SAE has."""

    code = "sae_exists"
    status = 409


class InvalidSAE(Refused):
    """An id or a path that breaks a rule of its column."""

    code = "invalid_sae"


class NoSuchSAE(Refused):
    """An id that no SAE has."""

    code = "sae_not_found"
    status = 404


class NoSuchFeature(Refused):
    """An index beyond the features of an SAE."""

    code = "feature_not_found"
    status = 404


class NoEncoder(Refused):
    """A reading by a vector set, which has no encoder."""

    code = "no_encoder"
    status = 409


class FeaturesUnknown(Refused):
    """Error: the number of an SAE's features is unknown until its files are downloaded."""

    code = "sae_not_ready"
    status = 409

    def __init__(self, sae_id: str) -> None:
        super().__init__(f"the number of features of SAE {sae_id} is not known yet: download the SAE first")


def new_sae_id(source: str, path: str) -> str:
    """Make an id of the last part of the source and the path in the source."""
    return slugify("-".join([PurePosixPath(source).name, *PurePosixPath(path).parts]).replace(".", "-"))[:200]


IN_USE = Q(is_attached=True) | Q(is_also_attached=True)


class SAEManager(models.Manager["SAE"]):
    def attached(self) -> "SAE | None":
        """The main attached SAE, whose features profiles and the live steering name by their index alone."""
        return self.filter(is_attached=True).first()

    def all_attached(self) -> "list[SAE]":
        """The SAEs whose directions can steer: the main attached one, then those attached beside it, by their ids."""
        return list(self.filter(IN_USE).order_by("-is_attached", "id"))

    def register(
        self, source: str, *, path: str = "", sae_id: str = "", revision: str = "", anywhere: bool = False
    ) -> "SAE":
        """Make a row for the SAE or vector set at `path` in `source`, a hub id or a folder; a worker prepares it then.

        An SAE in a folder is ready at once; a worker downloads an SAE of the hub. `anywhere` allows folders outside
        MILLM_MODEL_DIRS. Raises InvalidSAE, SAEExists, BadSource, or what `check_names` and `read_config` raise.
        """
        made = self.model(id=sae_id or new_sae_id(source, path), source=source, path=path.strip("/"), revision=revision)
        made.check_rules()
        config, is_file = None, made.path.endswith(SUFFIX)
        if is_folder(source):
            folder = local_folder(source, anywhere=anywhere)
            local_folder(str((folder / made.path).parent if is_file else folder / made.path), anywhere=anywhere)
            made.take(config := read_config(folder / made.path, path=f"{source}/{made.path}"))
        else:
            from steering.hub.names import check_names

            check_names(source, revision or "main")
        try:
            with transaction.atomic():
                made.save(force_insert=True)
                if config:
                    made.take_labels(config)
        except IntegrityError as error:  # another request registered the id after check_rules
            raise SAEExists(f"id: an SAE {made.pk!r} already exists", field="id") from error
        made.prepare()
        return made


class SAE(models.Model):
    """A sparse autoencoder, or a vector set, from a Hugging Face hub id or a folder.

    At most one is the main attached one; further ones are attached beside it. A vector set has no encoder: `d_sae` is
    the number of its vectors, and it may span several layers, with the same hook point in each.
    """

    class Status(models.TextChoices):
        REGISTERED = "registered"
        QUEUED = "queued"
        DOWNLOADING = "downloading"
        READY = "ready"
        ERROR = "error"

    id = models.SlugField(primary_key=True, max_length=200)
    source = models.CharField(max_length=500, help_text="A hub id or a folder.")
    revision = models.CharField(max_length=100, blank=True)
    path = models.CharField(max_length=500, blank=True, help_text="A folder in the source, or a control vector's file.")
    format = models.CharField(max_length=40, default="saelens")
    architecture = models.CharField(max_length=40, blank=True)
    # Read from the files by a worker. Without a hook name they are not read yet, and the SAE cannot be attached.
    d_in = models.PositiveIntegerField(default=0, help_text="Width of the residual stream it was trained on.")
    d_sae = models.PositiveIntegerField(default=0, help_text="Number of features.")
    layer = models.PositiveIntegerField(default=0, help_text="Zero-based decoder block of its hook point, the first.")
    layers = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),  # the version before inserts rows without this column
        editable=False,
        help_text="The layers that it spans, in order: one, except for a vector set of several.",
    )
    hook_name = models.CharField(max_length=100, blank=True, help_text="Its hook point in the first of its layers.")
    model_name = models.CharField(max_length=100, blank=True, help_text="The model it was trained on.")
    fingerprint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of its decoder.")
    residual_norm = models.FloatField(
        null=True, editable=False, help_text="Mean norm of the residual stream, measured."
    )
    measured_tokens = models.PositiveBigIntegerField(null=True, editable=False, help_text="Tokens of the statistics.")
    is_attached = models.BooleanField("attached", default=False, editable=False)
    is_also_attached = models.BooleanField(
        "also attached",
        default=False,
        db_default=False,
        editable=False,
        help_text="Attached in addition to the main attached SAE.",
    )
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.REGISTERED, editable=False)
    progress = models.FloatField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    due_at = models.DateTimeField(null=True, editable=False, help_text="When a worker is to prepare it: see lease.py.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    FROM_FILES = ("format", "architecture", "d_in", "d_sae", "layer", "layers", "hook_name", "model_name")
    objects = SAEManager()

    class Meta:
        verbose_name = "SAE"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["is_attached"], condition=Q(is_attached=True), name="one_attached_sae"),
            models.CheckConstraint(
                condition=~Q(is_attached=True, is_also_attached=True), name="attached_as_main_or_beside_it"
            ),
        ]

    def __str__(self) -> str:
        return self.id

    def for_table(self) -> dict[str, Any]:
        """What the table of features and strengths knows of its SAE (static/millm/features.js)."""
        return {"id": self.id, "d_sae": self.d_sae, "norm": self.residual_norm}

    @property
    def is_vectors(self) -> bool:
        """True for a vector set."""
        return self.architecture == VECTORS

    @property
    def is_in_use(self) -> bool:
        """True where it is attached, as the main one or beside it."""
        return self.is_attached or self.is_also_attached

    @property
    def is_under_way(self) -> bool:
        """True while a worker downloads the files or computes the fingerprint: the worker changes the row then."""
        computing = self.status == self.Status.READY and not self.fingerprint and self.progress is not None
        return computing or self.status in {self.Status.QUEUED, self.Status.DOWNLOADING}

    @property
    def waits(self) -> bool:
        """True while the SAE is due and no worker holds a lease on it."""
        return self.is_under_way and self.due_at is not None and self.due_at <= timezone.now()

    @property
    def place(self) -> SAEPlace:
        """Where its files lie."""
        return SAEPlace(self.source, self.revision, self.path)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row; a row that names no layers spans its `layer`."""
        self.layers = self.layers or [self.layer]
        super().save(*args, **kwargs)

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the row and its labels; files stay. Raises SAEInUse."""
        from steering.models import SteeringState

        SteeringState.objects.lock()
        may_take_long()  # an SAE may have a million labels
        if fresh := SAE.objects.filter(pk=self.pk).first():
            fresh.check_deletable()
        return super().delete(*args, **kwargs)

    def may_be_deleted_by(self, user: Any) -> bool:
        """True where `user` may delete the labels, which are deleted with the SAE."""
        return user.has_perm("steering.delete_featurelabel") or not self.labels.exists()

    def check_feature(self, index: int) -> None:
        """Raises NoSuchFeature or FeaturesUnknown where the SAE has no feature `index`."""
        if not self.d_sae:
            raise FeaturesUnknown(self.pk)
        if index >= self.d_sae:
            raise NoSuchFeature(f"feature {index} is out of range: SAE {self} has {self.d_sae} features", field="index")

    def check_encoder(self) -> None:
        """Raises NoEncoder where it is a vector set, through which nothing can be read."""
        if self.is_vectors:
            raise NoEncoder(f"{self} is a vector set, which has no encoder to read with: name an SAE")

    def check_deletable(self) -> None:
        """Raises SAEInUse."""
        if self.is_in_use:
            raise SAEInUse(f"SAE {self} cannot be deleted while it is attached. Detach it first")

    def check_rules(self) -> None:
        """Refuse an id, a source or a path that breaks a rule. Raises InvalidSAE or SAEExists."""
        try:
            self.clean_fields(exclude=["d_in", "d_sae", "layer", "layers", "hook_name"])
        except ValidationError as error:
            field, [message, *_] = next(iter(error.message_dict.items()))
            raise InvalidSAE(f"{field}: {message}", field=field) from error
        if ".." in PurePosixPath(self.path).parts or PurePosixPath(self.path).is_absolute():
            raise InvalidSAE(f"path: got {self.path!r}, expected a path inside the source", field="path")
        if SAE.objects.filter(pk=self.pk).exists():
            raise SAEExists(f"id: an SAE {self.pk!r} already exists", field="id")

    def take(self, config: SAEConfig) -> None:
        """Copy what the files say to this row; the SAE is ready then."""
        for field in self.FROM_FILES:
            setattr(self, field, getattr(config, field))
        self.layers = list(config.layers)
        self.model_name = config.model_name[:100]
        self.status, self.error = self.Status.READY, ""

    def take_labels(self, config: SAEConfig) -> None:
        """Store the labels that the files of a vector set give, in place of earlier ones; the row is stored already."""
        from steering.labels.models import FeatureLabel

        if self.is_vectors:
            FeatureLabel.objects.take_from_files(self.pk, config.labels)

    def prepare(self) -> None:
        """Ask for a worker that downloads missing files and computes the fingerprint."""
        # A preparation that failed begins again: the files may have changed.
        again = Q(hook_name="") | Q(status=self.Status.ERROR) & ~IN_USE
        queued = {"hook_name": "", "status": self.Status.QUEUED, "progress": None, "error": ""}
        row = SAE.objects.filter(pk=self.pk)
        row.filter(again).update(**queued)
        row.filter(status=self.Status.READY, fingerprint="").update(progress=0.0)
        row.exclude(status=SAE.Status.ERROR).update(error="")  # an earlier preparation may fail at this moment
        row.update(due_at=Now())
        self.refresh_from_db()

    def cancel(self) -> None:
        """End the download; the next one continues it. Raises NothingToCancel where no download is in progress."""
        row = SAE.objects.filter(pk=self.pk, status__in=[self.Status.QUEUED, self.Status.DOWNLOADING])
        cancelled = row.update(status=self.Status.REGISTERED, progress=None, due_at=None)
        self.refresh_from_db()
        if not cancelled:
            raise NothingToCancel(f"SAE {self} is {self.get_status_display().lower()} already: nothing was cancelled")

"""The language models as workers serve them: registration from files, load, cancel, and the state of the load."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePath
from typing import ClassVar

from django.db import IntegrityError, models, transaction
from django.db.models import F

from inference.measuring.models import CorpusChunk as CorpusChunk
from inference.measuring.models import Measurement as Measurement
from inference.measuring.models import SavedState as SavedState
from inference.model_config import Description, check_files, describe, sampling_defaults
from inference.model_files import model_folder
from inference.responses.models import StoredResponse as StoredResponse
from inference.setups.models import Setup as Setup
from inference.states import Loadable, LoadableQuerySet, Status
from inference.sweeps.models import Sweep as Sweep
from inference.sweeps.models import SweepCell as SweepCell
from profiles import current
from steering import language_models as rows
from steering.errors import NothingToCancel


class LanguageModelManager(rows.LanguageModelManager["LanguageModel"]):
    def get_queryset(self) -> "models.QuerySet[LanguageModel]":
        return LoadableQuerySet(self.model, using=self._db)

    def register(
        self, source: str, *, name: str = "", revision: str = "", anywhere: bool = False, **options: str
    ) -> "LanguageModel":
        """Make a row for the model at `source`, from its `config.json`; nothing is downloaded yet.

        `name` is the last part of the source where it is empty; `options` are dtype, device and answer_form; `anywhere`
        allows folders outside MILLM_MODEL_DIRS. Raises ModelExists, InvalidModel, or what `describe` raises.
        """
        made = self.model(name=name or PurePath(source).name, source=source, revision=revision, **options)
        made.check_rules()
        for field, value in asdict(describe(source, revision, anywhere=anywhere)).items():
            setattr(made, field, value)
        made.sampling_defaults = sampling_defaults(source, revision)
        try:
            with transaction.atomic():
                made.save(force_insert=True)
        except IntegrityError as error:  # another request registered the name while the description was read
            raise rows.ModelExists(f"name: a model {made.name!r} already exists", field="name") from error
        return made


class LanguageModel(rows.LanguageModel, Loadable):
    """A row of `steering.models.LanguageModel`, with the state that workers report of its load."""

    Status = Status

    objects: ClassVar[LanguageModelManager] = LanguageModelManager()

    class Meta:
        proxy = True
        verbose_name = "model"

    attach = current.attach

    @property
    def why_unserved(self) -> str:
        """The reason why no worker answers for the model, as a sentence."""
        if self.status == self.Status.ERROR:
            others = self.still_served
            instead = f" {' and '.join(others)} still answer{'' if others[1:] else 's'} requests." if others else ""
            return f"{self} failed to load: {self.error.removesuffix('.')}.{instead}"
        share = "" if self.progress is None else f", {self.progress:.0%}"
        is_gone = self.status == self.Status.READY
        return f"No worker has {self} ready: " + ("start one." if is_gone else f"it is {self.status}{share}.")

    def make_current(self) -> None:
        """Serve this model from now on; the SAEs of the model before it are detached, and the setup is kept."""
        with Setup.objects.keeping(f"model {self} was loaded"):
            current.make_current(self)

    def unload(self) -> None:
        """Stop serving this model; workers end its download or its load. The setup is kept."""
        with Setup.objects.keeping(f"model {self} was unloaded"):
            current.unload(self)

    def load(self) -> None:
        """Serve this model from now on: workers fetch and load it, and report their progress.

        A load in progress goes on; a load that ended, with or without an error, begins again. Raises what
        `check_files` raises, and changes nothing then.
        """
        self.check_files()
        self.refresh_from_db()
        goes_on = self.is_current and self.is_under_way  # asks Redis, for which no transaction should wait
        with Setup.objects.keeping(f"model {self} was loaded"):
            current.make_current(self)
            if not goes_on:  # and no other request asked for the load meanwhile
                seen = LanguageModel.objects.filter(pk=self.pk, load_count=self.load_count)
                seen.update(load_count=F("load_count") + 1)
        self.refresh_from_db()

    def check_files(self) -> None:
        """Refuse files on this machine that no worker could load; a worker downloads missing files of the hub.

        Raises BrokenWeights, BrokenTokenizer, BadSource, or ModelChanged where the files are of another model than the
        registered one.
        """
        if folder := model_folder(self):
            known = Description(self.model_type, self.d_model, self.num_layers, self.context_length)
            check_files(folder, known)

    def change_options(self, **options: str) -> bool:
        """Set `dtype`, `device` and `answer_form`; returns whether workers load the model again now.

        They load it again for another dtype or device. `answer_form` is for the next request. The setup with the
        options before is kept where the model is current. Raises InvalidModel, or what `load` raises.
        """
        with Setup.objects.keeping(f"the load options of {self} were changed"):
            return self._change_options(options)

    def _change_options(self, options: Mapping[str, str]) -> bool:
        self.refresh_from_db()
        changed = [name for name, value in options.items() if getattr(self, name) != value]
        for name in changed:
            setattr(self, name, options[name])
        self.check_rules()
        if not changed:
            return False
        self.save(update_fields=[*changed, "updated_at"])  # these alone: another process may write the others now
        is_loaded = self.is_current and changed != ["answer_form"]
        if is_loaded:
            self.load()
        return is_loaded

    def cancel(self) -> None:
        """End the load in progress. Raises NothingToCancel where the load has ended, or Redis does not answer."""
        self.refresh_from_db()
        if not (self.is_current and self.is_under_way):
            reason = self.error if self.status == Status.UNKNOWN else f"{self} is {self.status} already"
            raise NothingToCancel(f"{reason.rstrip('.')}: nothing was cancelled")
        with Setup.objects.keeping(f"the load of {self} was cancelled", unless_plain=True):
            current.unload(self)

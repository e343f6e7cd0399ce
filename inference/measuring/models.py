"""The measuring of an SAE over a corpus: a row that a worker takes up, its corpus, and the state that it saves."""

import json
import zlib
from collections.abc import Iterator

from django.db import IntegrityError, connection, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from inference import capabilities
from inference.measuring.corpus import CorpusFile, InvalidCorpus, Prompt, corpus_lines
from profiles.current import NoCurrentModel
from steering.errors import NothingToCancel, Refused
from steering.history import AGENT_LENGTH, current_agent
from steering.language_models import LanguageModel
from steering.saes import SAE
from steering.statements import may_take_long

CHUNK_BYTES = 2**16
STATE_BYTES = 2**22

Line = tuple[str, Prompt]
"""File and line, and what is written there."""


class BeingMeasured(Refused):
    """An SAE that is being measured cannot be measured over another corpus."""

    code = "measuring_in_progress"
    status = 409


class NotMeasured(Refused):
    """An SAE of which no measuring was begun."""

    code = "measurement_not_found"
    status = 404


class MeasurementManager(models.Manager["Measurement"]):
    def of(self, sae: SAE) -> "Measurement":
        """The last measuring of `sae`. Raises NotMeasured."""
        found = self.filter(sae=sae).first()
        if found is None:
            raise NotMeasured(f"SAE {sae} was not measured yet: send it texts to be measured over")
        return found

    def start(self, sae: SAE, files: list[CorpusFile]) -> "Measurement":
        """Store the texts of `files`, all or none, and ask a worker that serves the current model to measure `sae`.

        Raises NoEncoder, NoCurrentModel, BeingMeasured, InvalidCorpus, Unsupported, or what
        `LanguageModel.check_fits` raises.
        """
        sae.check_encoder()
        model = LanguageModel.objects.current()
        if model is None:
            raise NoCurrentModel("no model is current: load the model that the SAE reads, then measure")
        model.check_fits(sae)
        capabilities.check(capabilities.MEASUREMENTS, model.name)
        try:
            with transaction.atomic():
                may_take_long()
                return self._store(sae, model, files)
        except IntegrityError as error:  # another request began it meanwhile
            raise BeingMeasured(f"SAE {sae} is being measured already: wait for its end, or cancel it") from error

    def _store(self, sae: SAE, model: LanguageModel, files: list[CorpusFile]) -> "Measurement":
        before = self.select_for_update().filter(sae=sae).first()
        if before is not None:
            if before.is_under_way:
                raise BeingMeasured(f"SAE {sae} is being measured already: wait for its end, or cancel it")
            before.delete()
        made = self.create(sae=sae, model_name=model.name, asked_by=current_agent()[:AGENT_LENGTH])
        made.lines = CorpusChunk.write(made, corpus_lines(files))
        if not made.lines:
            raise InvalidCorpus(f"{', '.join(file.name for file in files)}: no text was found")
        self.filter(sae=sae).update(lines=made.lines, due_at=Now())
        made.refresh_from_db()
        return made


class Measurement(models.Model):
    """The measuring of an SAE: at most one of each. `due_at` and `attempts` are as in `inference.worker.leases`."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        MEASURING = "measuring"
        MEASURED = "measured"
        ERROR = "error"
        CANCELLED = "cancelled"

    sae = models.OneToOneField(SAE, models.CASCADE, primary_key=True, related_name="measurement")
    model_name = models.CharField(max_length=100, help_text="The model that reads the texts.")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.QUEUED)
    progress = models.FloatField(null=True, help_text="From 0 to 1.")
    error = models.TextField(blank=True)
    lines = models.PositiveBigIntegerField(default=0, help_text="The texts of the corpus.")
    position = models.PositiveBigIntegerField(default=0, help_text="The texts that the saved state has.")
    tokens = models.PositiveBigIntegerField(default=0, help_text="The tokens that were measured.")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Leases since the state was saved last.")
    asked_by = models.CharField(max_length=AGENT_LENGTH, blank=True)
    due_at = models.DateTimeField(null=True, help_text="When a worker is to take it up: see lease.py.")
    created_at = models.DateTimeField(auto_now_add=True)

    ONGOING = (Status.QUEUED, Status.MEASURING)
    objects = MeasurementManager()

    class Meta:
        default_permissions = ()  # those of SAEs count

    def __str__(self) -> str:
        return f"measuring of {self.sae_id}"

    @property
    def is_under_way(self) -> bool:
        return self.status in self.ONGOING

    @property
    def waits(self) -> bool:
        """True while no worker holds a lease on it."""
        return self.is_under_way and self.due_at is not None and self.due_at <= timezone.now()

    def retry(self) -> None:
        """Go on after an error, from the saved state. Raises Refused where it did not end with an error."""
        row = Measurement.objects.filter(pk=self.pk, status=self.Status.ERROR)
        again = row.update(status=self.Status.QUEUED, error="", attempts=0, due_at=Now())
        self.refresh_from_db()
        if not again:
            raise NothingToCancel(f"the measuring of SAE {self.pk} is {self.status}: only one that failed can go on")

    @transaction.atomic
    def cancel(self) -> None:
        """End the measuring, and drop its texts and its state. Raises NothingToCancel where it has ended."""
        row = Measurement.objects.filter(pk=self.pk, status__in=[*self.ONGOING, self.Status.ERROR])
        cancelled = row.update(status=self.Status.CANCELLED, progress=None, error="", due_at=None)
        self.refresh_from_db()
        if not cancelled:
            raise NothingToCancel(f"the measuring of SAE {self.pk} is {self.status} already: nothing was cancelled")
        self.drop_corpus()

    def drop_corpus(self) -> None:
        """Delete the texts and the saved state."""
        CorpusChunk.objects.filter(measurement=self).delete()
        SavedState.objects.filter(measurement=self).delete()

    def texts(self, position: int) -> Iterator[Line]:
        """The texts from `position` on."""
        chunks = CorpusChunk.objects.filter(measurement=self).order_by("-first")
        found = chunks.filter(first__lte=position).values_list("first", flat=True).first()
        while found is not None:
            data = chunks.filter(first=found).values_list("data", flat=True).first()
            if data is None:  # cancelled
                return
            lines = zlib.decompress(data).splitlines()
            for line in lines[position - found :]:
                where, prompt = json.loads(line)
                yield where, prompt
            position = found + len(lines)
            found = position if position < self.lines else None


class CorpusChunk(models.Model):
    """Texts of a corpus, of which the first one has the number `first`: lines of JSON, compressed by zlib."""

    measurement = models.ForeignKey(Measurement, models.CASCADE, related_name="corpus", db_index=False)
    first = models.PositiveBigIntegerField()
    data = models.BinaryField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["measurement", "first"], name="one_chunk_of_a_place")]

    @classmethod
    def write(cls, measurement: Measurement, lines: Iterator[Line]) -> int:
        """Write the texts; returns their number. Raises what `lines` raises."""
        number = 0
        chunk: list[str] = []
        with connection.cursor() as cursor, cursor.copy(_copy(cls, "first")) as copy:
            copy.set_types(["varchar", "int8", "bytea"])

            def write() -> None:
                packed = zlib.compress("\n".join(chunk).encode(), level=1)
                copy.write_row((measurement.pk, number - len(chunk), packed))
                chunk.clear()

            size = 0
            for line in lines:
                chunk.append(json.dumps(line))  # ASCII: splitlines() knows more ends of lines than "\n"
                number += 1
                size += len(chunk[-1])
                if size >= CHUNK_BYTES:
                    write()
                    size = 0
            if chunk:
                write()
        return number


class SavedState(models.Model):
    """A part of the state that a worker has saved of a measuring, in order of `part`."""

    measurement = models.ForeignKey(Measurement, models.CASCADE, related_name="state", db_index=False)
    part = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["measurement", "part"], name="one_part_of_a_place")]

    @classmethod
    def write(cls, measurement: Measurement, state: bytes) -> None:
        """Replace the saved state."""
        cls.objects.filter(measurement=measurement).delete()
        with connection.cursor() as cursor, cursor.copy(_copy(cls, "part")) as copy:
            copy.set_types(["varchar", "int4", "bytea"])
            for part, start in enumerate(range(0, len(state), STATE_BYTES)):
                copy.write_row((measurement.pk, part, zlib.compress(state[start : start + STATE_BYTES], level=1)))

    @classmethod
    def read(cls, measurement: Measurement) -> bytes:
        """The saved state; empty where none was saved."""
        parts = cls.objects.filter(measurement=measurement).order_by("part").values_list("data", flat=True)
        return b"".join(zlib.decompress(data) for data in parts.iterator(chunk_size=4))


def _copy(table: type[models.Model], place: str) -> str:
    return f"COPY {table._meta.db_table} (measurement_id, {place}, data) FROM STDIN WITH (FORMAT BINARY)"

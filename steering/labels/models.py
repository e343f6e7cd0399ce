"""Feature labels: texts that say what a feature of an SAE stands for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector, SearchVectorField
from django.db import models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Length

from steering.api.search import check_number
from steering.errors import Refused
from steering.history import History
from steering.imports.copy import imported
from steering.labels.files import EDITED, LABEL_LENGTH, OF_FILES, SOURCE_LENGTH, LabelFile, clean
from steering.saes import SAE, NoSuchSAE
from steering.statements import may_take_long

SEARCH_LIMIT = 1000
"""At most this many matches are ranked: a word that matches more labels is too common to be useful."""
PER_LENGTH = 2  # a flag of ts_rank: divide the rank by the document's length


class InvalidLabel(Refused):
    """Error: a text that cannot be a label."""

    code = "invalid_label"


class EditedLabelExists(Refused):
    """Error: a feature has an edited label already."""

    code = "label_exists"


class NoEditedLabel(Refused):
    """Error: a feature has no edited label."""

    code = "label_not_found"
    status = 404


@dataclass(frozen=True)
class ImportedLabels:
    """The result of an import: rows read, rows without a label, labels written, and the sources of the labels."""

    rows: int
    skipped: int
    labels: int
    sources: list[str]


class FeatureLabelQuerySet(models.QuerySet["FeatureLabel"]):
    def search(self, text: str) -> "FeatureLabelQuerySet":
        """The labels with all words of `text`, the last one also as a prefix; the best first, at most SEARCH_LIMIT.

        Raises TooManyWords.
        """
        words = check_number(text.split())
        if not words:
            return self.none()
        query = search_query(words)
        # The inner query has a limit and no order, so that at most SEARCH_LIMIT labels of a common word are ranked.
        found = self.filter(vector=query).order_by().values("pk")[:SEARCH_LIMIT]
        # Whole-word matches rank before prefix matches; then shorter labels.
        rank = SearchRank(F("vector"), SearchQuery(" ".join(words), config="english"), normalization=Value(PER_LENGTH))
        return self.model.objects.filter(pk__in=found).order_by(rank.desc(), Length("label"), "index", "pk")

    def of(self, sae_id: str | None, indices: Iterable[int]) -> dict[int, str]:
        """{feature index: label} of the labelled ones among these features.

        Of several labels the edited one counts, else the newest.
        """
        found = self.of_many([(sae_id, indices)])
        return {index: label for (_, index), label in found.items()}

    def of_many(self, features: Iterable[tuple[str | None, Iterable[int]]]) -> dict[tuple[str, int], str]:
        """The same for features of several SAEs, in one query: {(SAE, index): label}."""
        asked: dict[str, set[int]] = {}
        for sae_id, indices in features:
            if sae_id:
                asked.setdefault(sae_id, set()).update(indices)
        wanted = [Q(sae_id=sae_id, index__in=sorted(indices)) for sae_id, indices in asked.items() if indices]
        if not wanted:
            return {}
        found = self.filter(reduce(or_, wanted)).alias(is_edited=Q(source=EDITED)).order_by("is_edited", "pk")
        rows = found.values_list("sae_id", "index", "label")
        return {(sae_id, index): label for sae_id, index, label in rows}

    @transaction.atomic
    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete these labels; the history of edited ones records it."""
        may_take_long()
        edited = EditedLabel.objects.filter(pk__in=self.order_by().filter(source=EDITED).values("pk"))
        count = sum(label.delete()[0] for label in edited)
        deleted, _ = super().delete()
        return count + deleted, {self.model._meta.label: count + deleted}

    delete.queryset_only = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]

    def import_files(self, sae_id: str, files: Sequence[LabelFile], *, replace: bool = False) -> ImportedLabels:
        """Write all labels of `files`, or none of them on any error.

        A label replaces the stored label of the same feature and source; within the files, the later label counts.
        `replace` deletes all earlier labels of the files' sources first. Raises InvalidLabelFile, NoSuchSAE,
        FeaturesUnknown.
        """
        columns = {"index": "integer", "label": "text", "source": "text"}
        with imported(sae_id, "new_labels", columns) as new:
            new.copy(label for file in files for label in file.labels(new.d_sae))
            written, sources = self._write(new.cursor, sae_id, replace)
        rows, skipped = sum(file.rows for file in files), sum(file.skipped for file in files)
        return ImportedLabels(rows, skipped, written, sources)

    @transaction.atomic
    def take_from_files(self, sae_id: str, labels: Sequence[str]) -> None:
        """Store the labels that a vector set's own files give, one of each vector, in place of earlier such labels."""
        self.filter(sae_id=sae_id, source=OF_FILES).delete()
        cleaned = [(index, clean(label)[:LABEL_LENGTH]) for index, label in enumerate(labels)]
        self.bulk_create(
            self.model(sae_id=sae_id, index=index, label=label, source=OF_FILES) for index, label in cleaned if label
        )

    def _write(self, cursor: Any, sae_id: str, replace: bool) -> tuple[int, list[str]]:
        """Copy the labels of the temporary table into this table. Returns their number and their sources."""
        cursor.execute("SELECT DISTINCT source FROM new_labels ORDER BY source")
        sources = [source for (source,) in cursor.fetchall()]
        if replace:
            self.filter(sae_id=sae_id, source__in=sources).delete()
        cursor.execute(
            "INSERT INTO steering_featurelabel (sae_id, index, source, label) "
            "SELECT DISTINCT ON (index, source) %s, index, source, label FROM new_labels "
            "ORDER BY index, source, row DESC "
            "ON CONFLICT (sae_id, index, source) DO UPDATE SET label = EXCLUDED.label",
            [sae_id],
        )
        written: int = cursor.rowcount
        # Without these two, each search reads the index's pending list, and the planner has no statistics of the words.
        cursor.execute("SELECT gin_clean_pending_list('feature_label_words')")
        cursor.execute("ANALYZE steering_featurelabel")
        return written, sources


def search_query(words: Sequence[str]) -> Any:
    """A query for all of `words` by their English stems, the last one also as a prefix."""
    *before, last = words
    begun = last.replace("\\", "\\\\").replace("'", "''")
    query: Any = SearchQuery(last, config="english") | SearchQuery(f"'{begun}':*", config="simple", search_type="raw")
    return SearchQuery(" ".join(before), config="english") & query if before else query


def checked(label: str) -> str:
    """The label on one line. Raises InvalidLabel where it is empty or too long."""
    label = clean(label)
    if not label:
        raise InvalidLabel("label: got no text, expected a label; delete the label to have none", field="label")
    if len(label) > LABEL_LENGTH:
        message = f"label: got {len(label)} characters, expected at most {LABEL_LENGTH}: shorten it"
        raise InvalidLabel(message, field="label")
    return label


class FeatureLabel(models.Model):
    """A text that says what a feature stands for, according to `source`. A feature may have one label per source."""

    sae = models.ForeignKey("steering.SAE", models.CASCADE, related_name="labels", db_index=False)
    index = models.PositiveIntegerField(help_text="The feature.")
    label = models.TextField()
    source = models.CharField(max_length=SOURCE_LENGTH)
    # Two configurations, since the English stem of an unfinished word ("swimm") is no prefix of the stem "swim".
    vector = models.GeneratedField(
        expression=SearchVector("label", config="english") + SearchVector("label", config="simple"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    objects = FeatureLabelQuerySet.as_manager()

    class Meta:
        ordering = ["sae_id", "index", "source"]
        constraints = [models.UniqueConstraint(fields=["sae", "index", "source"], name="one_label_of_a_source")]
        indexes = [GinIndex(fields=["vector"], name="feature_label_words")]

    def __str__(self) -> str:
        return f"{self.index} — {self.label}"


class EditedLabelManager(models.Manager["EditedLabel"]):
    def get_queryset(self) -> models.QuerySet["EditedLabel"]:
        return super().get_queryset().filter(source=EDITED).defer("vector")

    @transaction.atomic
    def write(self, sae_id: str, index: int, label: str) -> "EditedLabel":
        """Give a feature this edited label, in place of an earlier one.

        Raises InvalidLabel, NoSuchSAE, NoSuchFeature or FeaturesUnknown.
        """
        label = checked(label)
        # The lock keeps the SAE from being deleted, and others from writing labels, until this transaction ends.
        sae = SAE.objects.select_for_update(no_key=True).filter(pk=sae_id).first()
        if sae is None:
            raise NoSuchSAE(f"there is no SAE {sae_id}")
        sae.check_feature(index)
        written = self.filter(sae=sae, index=index).first() or self.model(sae=sae, index=index, source=EDITED)
        if written.label != label:
            written.label = label
            written.save()
        return written

    def check_new(self, sae: SAE, index: int, label: str) -> None:
        """Check a label for a feature that has no edited one. Raises what `write` raises, and EditedLabelExists."""
        checked(label)
        sae.check_feature(index)
        if old := self.filter(sae=sae, index=index).first():
            message = f"index: feature {index} has the label {old.label!r}: change it on the page of the feature"
            raise EditedLabelExists(message, field="index")

    @transaction.atomic
    def remove(self, sae_id: str, index: int) -> None:
        """Delete the edited label of a feature. Raises NoEditedLabel."""
        label = self.select_for_update().filter(sae_id=sae_id, index=index).first()
        if label is None:
            raise NoEditedLabel(f"feature {index} of SAE {sae_id} has no edited label")
        label.delete()

    def versions(self, sae_id: str, index: int) -> models.QuerySet[Any]:
        """The history of the edited label of a feature, the latest version first."""
        found: models.QuerySet[Any] = self.model.history.filter(sae_id=sae_id, index=index)
        return found


class EditedLabel(FeatureLabel):
    """A label that a user wrote, with its history. Imports, of other sources, write no history."""

    objects: ClassVar[Any] = EditedLabelManager()
    history = History(excluded_fields=["vector"])

    class Meta:
        proxy = True
        default_permissions = ()  # those of `FeatureLabel` count

"""Feature labels: in words, what a feature of an SAE stands for."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector, SearchVectorField
from django.db import connection, models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Length

from steering.api.search import check_number
from steering.errors import Refused
from steering.labels.files import SOURCE_LENGTH, Label, LabelFile
from steering.statements import may_take_long

SEARCH_LIMIT = 1000
"""So many labels that match are found and ranked; the words that more have, say too little."""
PER_LENGTH = 2  # of ts_rank's flags


class FeaturesUnknown(Refused):
    """How many features an SAE has is known once its files are here."""

    code = "sae_not_ready"
    status = 409


class NoSuchSAE(Refused):
    code = "sae_not_found"
    status = 404


@dataclass(frozen=True)
class ImportedLabels:
    """What an import did: rows read, features without a label among them, labels written, and their sources."""

    rows: int
    skipped: int
    labels: int
    sources: list[str]


class FeatureLabelQuerySet(models.QuerySet["FeatureLabel"]):
    def search(self, text: str) -> "FeatureLabelQuerySet":
        """Those with all the words of `text`, the last one maybe unfinished; the best first, at most SEARCH_LIMIT.

        Raises TooManyWords.
        """
        words = check_number(text.replace("\0", " ").split())
        if not words:
            return self.none()
        query = search_query(words)
        # The innermost is bounded and not ordered, so that of a word that a million labels have, a thousand are ranked.
        found = self.filter(vector=query).order_by().values("pk")[:SEARCH_LIMIT]
        # Those with the last word as it stands come before those in which another begins so; then the shorter.
        rank = SearchRank(F("vector"), SearchQuery(" ".join(words), config="english"), normalization=Value(PER_LENGTH))
        return self.model.objects.filter(pk__in=found).order_by(rank.desc(), Length("label"), "index", "pk")

    def of(self, sae_id: str | None, indices: Iterable[int]) -> dict[int, str]:
        """The labels of these features that have one: of several sources, the one that came last."""
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
        rows = self.filter(reduce(or_, wanted)).order_by("pk").values_list("sae_id", "index", "label")
        return {(sae_id, index): label for sae_id, index, label in rows}

    @transaction.atomic
    def delete(self) -> tuple[int, dict[str, int]]:
        may_take_long()
        return super().delete()

    delete.queryset_only = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]

    @transaction.atomic
    def import_files(self, sae_id: str, files: Sequence[LabelFile], *, replace: bool = False) -> ImportedLabels:
        """Write the labels of `files`: all of them, or on any error none.

        A label that is there for the same feature from the same source gets the new text; of two in the files the
        later counts. With `replace` those go that came from the same sources before. Raises InvalidLabelFile,
        NoSuchSAE, FeaturesUnknown.
        """
        may_take_long()
        with connection.cursor() as cursor:
            # Held until the end: no one deletes the SAE meanwhile, and everything else can be done with it.
            cursor.execute("SELECT d_sae FROM steering_sae WHERE id = %s FOR KEY SHARE", [sae_id])
            d_sae = _known(sae_id, cursor.fetchone())
            cursor.execute(
                "CREATE TEMPORARY TABLE new_labels "
                "(row bigserial, index integer, label text, source text) ON COMMIT DROP"
            )
            with (
                closing(_labels(files, d_sae)) as labels,
                cursor.copy("COPY new_labels (index, label, source) FROM STDIN") as copy,
            ):
                for label in labels:
                    copy.write_row(label)
            imported = self._write(cursor, sae_id, replace)
            cursor.execute("DROP TABLE new_labels")
        rows, skipped = sum(file.rows for file in files), sum(file.skipped for file in files)
        return ImportedLabels(rows, skipped, *imported)

    def _write(self, cursor: Any, sae_id: str, replace: bool) -> tuple[int, list[str]]:
        """The labels of the temporary table as rows of this one; how many, and their sources."""
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
        # Else each search reads a list of what is not in the index yet, and the planner knows nothing of the words.
        cursor.execute("SELECT gin_clean_pending_list('feature_label_words')")
        cursor.execute("ANALYZE steering_featurelabel")
        return written, sources


def _known(sae_id: str, row: tuple[int] | None) -> int:
    """The number of features."""
    if row is None:
        raise NoSuchSAE(f"there is no SAE {sae_id}")
    if not row[0]:
        raise FeaturesUnknown(f"how many features SAE {sae_id} has is not known yet: download it first")
    return row[0]


def _labels(files: Sequence[LabelFile], d_sae: int) -> Generator[Label, None, None]:
    for file in files:
        yield from file.labels(d_sae)


def search_query(words: Sequence[str]) -> Any:
    """All of `words` as English has them, the last one also as the beginning of a word."""
    *before, last = words
    begun = last.replace("\\", "\\\\").replace("'", "''")
    query: Any = SearchQuery(last, config="english") | SearchQuery(f"'{begun}':*", config="simple", search_type="raw")
    return SearchQuery(" ".join(before), config="english") & query if before else query


class FeatureLabel(models.Model):
    """What a feature stands for, in words, as `source` has it. A feature may have labels from several sources."""

    sae = models.ForeignKey("steering.SAE", models.CASCADE, related_name="labels", db_index=False)
    index = models.PositiveIntegerField(help_text="The feature.")
    label = models.TextField()
    source = models.CharField(max_length=SOURCE_LENGTH)
    # Both, since the English stem of an unfinished word ("swimm") begins no stem of the whole word ("swim").
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

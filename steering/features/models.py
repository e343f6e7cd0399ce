"""Features: statistics, promoted and suppressed tokens, nearest features, and texts in which a feature fires."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from steering.features.files import FeatureFile
from steering.imports.copy import imported

SOURCE_LENGTH = 200
MEASURED, NEURONPEDIA = "measured", "neuronpedia"
"""Sources of statistics and of examples."""
EXAMPLES_KEPT = 10
"""An import keeps so many examples of a feature, the strongest."""
NEW_COLUMNS = {
    "index": "integer",
    "maximum": "double precision",
    "density": "double precision",
    **dict.fromkeys(("histogram", "promoted", "suppressed", "nearest"), "jsonb"),
    "tokens": "text[]",
    "values": "double precision[]",
    "example_maximum": "double precision",
}
# The later row of a feature counts. Statistics replace the stored ones together, other facts one by one.
WRITE_FEATURES = """
INSERT INTO steering_feature AS old
    (sae_id, index, maximum, density, histogram, statistics_source, promoted, suppressed, nearest)
SELECT DISTINCT ON (index) %(sae)s, index, maximum, density, histogram,
    CASE WHEN num_nonnulls(maximum, density, histogram) > 0 THEN %(source)s ELSE '' END, promoted, suppressed, nearest
FROM new_features WHERE tokens IS NULL ORDER BY index, row DESC
ON CONFLICT (sae_id, index) DO UPDATE SET
    (maximum, density, mean, histogram, statistics_source) = (
        SELECT EXCLUDED.maximum, EXCLUDED.density, NULL::float8, EXCLUDED.histogram, EXCLUDED.statistics_source
        WHERE EXCLUDED.statistics_source <> ''
        UNION ALL
        SELECT old.maximum, old.density, old.mean, old.histogram, old.statistics_source
        WHERE EXCLUDED.statistics_source = ''
    ),
    promoted = coalesce(EXCLUDED.promoted, old.promoted),
    suppressed = coalesce(EXCLUDED.suppressed, old.suppressed),
    nearest = coalesce(EXCLUDED.nearest, old.nearest)
"""
DELETE_EXAMPLES = """
DELETE FROM steering_featureexample
WHERE sae_id = %(sae)s AND source = %(source)s AND index IN (SELECT index FROM new_features WHERE tokens IS NOT NULL)
"""
# Equal texts of a feature are one example.
WRITE_EXAMPLES = """
INSERT INTO steering_featureexample (sae_id, index, source, rank, tokens, values, maximum)
SELECT %(sae)s, index, %(source)s, rank - 1, tokens, values, example_maximum FROM (
    SELECT *, row_number() OVER (PARTITION BY index ORDER BY example_maximum DESC, tokens) AS rank FROM (
        SELECT DISTINCT ON (index, example_maximum, tokens) index, example_maximum, tokens, values
        FROM new_features WHERE tokens IS NOT NULL ORDER BY index, example_maximum DESC, tokens
    ) AS different
) AS ranked
WHERE rank <= %(kept)s
"""
# A feature with examples alone is listed too.
NAME_FEATURES = """
INSERT INTO steering_feature (sae_id, index, statistics_source)
SELECT DISTINCT %(sae)s, index, '' FROM new_features WHERE tokens IS NOT NULL
ON CONFLICT (sae_id, index) DO NOTHING
"""


@dataclass(frozen=True)
class ImportedFeatures:
    """The result of an import: rows read, rows of examples that do not fire, features and examples written."""

    rows: int
    skipped: int
    features: int
    examples: int


class FeatureQuerySet(models.QuerySet["Feature"]):
    def maxima(self, sae_id: str, indices: Iterable[int]) -> dict[int, float]:
        """The largest activation of each of these features of which it is known."""
        known = self.filter(sae=sae_id, index__in=[*indices]).values_list("index", "maximum")
        return {index: maximum for index, maximum in known if maximum is not None}

    def import_files(self, sae_id: str, files: Sequence[FeatureFile]) -> ImportedFeatures:
        """Write what `files` say about features, or nothing on any error.

        Facts replace those stored of the same feature, examples those of the same feature and source. Raises
        InvalidFeatureFile, NoSuchSAE, FeaturesUnknown.
        """
        given = {"sae": sae_id, "source": NEURONPEDIA, "kept": EXAMPLES_KEPT}
        with imported(sae_id, "new_features", NEW_COLUMNS) as new:
            new.copy(row for file in files for row in file.features(new.d_sae))
            counts = []
            for statement in (WRITE_FEATURES, DELETE_EXAMPLES, WRITE_EXAMPLES, NAME_FEATURES):
                new.cursor.execute(statement, given)
                counts.append(new.cursor.rowcount)
            new.cursor.execute("ANALYZE steering_feature, steering_featureexample")
        features, _, examples, _ = counts
        return ImportedFeatures(
            sum(file.rows for file in files), sum(file.skipped for file in files), features, examples
        )


class Feature(models.Model):
    """Facts about a feature beside its labels. A feature without a row is one of which nothing is known."""

    sae = models.ForeignKey("steering.SAE", models.CASCADE, related_name="features", db_index=False)
    index = models.PositiveIntegerField(help_text="The feature.")
    maximum = models.FloatField(null=True, help_text="The largest activation.")
    density = models.FloatField(null=True, help_text="The share of tokens on which it fires.")
    mean = models.FloatField(null=True, help_text="The mean activation where it fires.")
    histogram = models.JSONField[Any](
        null=True, help_text="{edges: n + 1 numbers, counts: n numbers}, of activations > 0."
    )
    statistics_source = models.CharField(max_length=SOURCE_LENGTH, blank=True)
    promoted = models.JSONField[Any](null=True, help_text="[[token, logit], …], the largest logit first.")
    suppressed = models.JSONField[Any](null=True, help_text="[[token, logit], …], the smallest logit first.")
    nearest = models.JSONField[Any](
        null=True, help_text="[[feature, cosine of decoder directions], …], the largest first."
    )

    objects = FeatureQuerySet.as_manager()

    class Meta:
        ordering = ["sae_id", "index"]
        default_permissions = ()  # the permissions of labels count
        constraints = [models.UniqueConstraint(fields=["sae", "index"], name="one_row_of_a_feature")]
        indexes = [
            models.Index("sae", F("maximum").desc(nulls_last=True), "index", name="feature_by_maximum"),
            models.Index("sae", F("density").desc(nulls_last=True), "index", name="feature_by_density"),
        ]

    def __str__(self) -> str:
        return f"{self.sae_id} {self.index}"


class FeatureExample(models.Model):
    """A text in which a feature fires strongly: its tokens, and the activation on each of them."""

    sae = models.ForeignKey("steering.SAE", models.CASCADE, related_name="feature_examples", db_index=False)
    index = models.PositiveIntegerField(help_text="The feature.")
    source = models.CharField(max_length=SOURCE_LENGTH)
    rank = models.PositiveSmallIntegerField(help_text="0 is the strongest of its source.")
    tokens = ArrayField(models.TextField())
    values = ArrayField(models.FloatField(), help_text="The activation on each token.")
    maximum = models.FloatField(help_text="The largest of the values.")

    class Meta:
        ordering = ["sae_id", "index", "source", "rank"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["sae", "index", "source", "rank"], name="one_example_of_a_rank"),
            models.CheckConstraint(condition=Q(tokens__len=models.F("values__len")), name="a_value_of_each_token"),
        ]

    def __str__(self) -> str:
        return f"{self.sae_id} {self.index}: {self.source} {self.rank}"

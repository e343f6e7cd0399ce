"""Features: statistics, promoted and suppressed tokens, nearest features, and texts in which a feature fires."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

SOURCE_LENGTH = 200
MEASURED, NEURONPEDIA = "measured", "neuronpedia"
"""Sources of statistics and of examples."""


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

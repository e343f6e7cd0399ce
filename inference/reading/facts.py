"""All that is known of one feature, for REST and for its page."""

from dataclasses import dataclass
from typing import Any

from inference.reading.details import ensure_details
from steering.labels.files import EDITED
from steering.models import SAE, Feature, FeatureExample, FeatureLabel


@dataclass(frozen=True)
class FeatureFacts:
    """What is known of feature `index`. `unavailable` says why promoted, suppressed or nearest are not known."""

    sae: SAE
    index: int
    row: Feature
    labels: list[dict[str, str]]
    """The edited label first, then the newest."""
    examples: list[FeatureExample]
    nearest: list[dict[str, Any]] | None
    unavailable: str

    @classmethod
    def of(cls, sae: SAE, index: int) -> "FeatureFacts":
        """Read the facts; a worker is asked once for those that the weights say.

        Raises NoSuchFeature, FeaturesUnknown.
        """
        sae.check_feature(index)
        unavailable = ensure_details(sae, index)
        row = Feature.objects.filter(sae=sae, index=index).first() or Feature(sae=sae, index=index)
        labels = FeatureLabel.objects.filter(sae=sae, index=index).order_by("-pk")
        examples = list(FeatureExample.objects.filter(sae=sae, index=index))
        nearest = row.nearest
        if nearest is not None:
            known = FeatureLabel.objects.of(sae.pk, [feature for feature, _ in nearest])
            nearest = [{"index": one, "cosine": cosine, "label": known.get(one, "")} for one, cosine in nearest]
        ordered = sorted(labels, key=lambda one: one.source != EDITED)
        shown = [{"label": one.label, "source": one.source} for one in ordered]
        return cls(sae, index, row, shown, examples, nearest, unavailable)

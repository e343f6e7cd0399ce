"""Labels and maximum activations of features in files of profiles: they are kept with the SAEs that are here."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from django.db import transaction
from django.template.defaultfilters import pluralize

from profiles.files.formats import FeatureFact
from profiles.files.mistudio import SOURCE
from steering.labels.files import LABEL_LENGTH, SOURCE_LENGTH, clean
from steering.models import SAE, Feature, FeatureLabel

PERMISSIONS = ("steering.add_featurelabel", "steering.change_featurelabel")
"""The permissions of a user who may keep facts: those of an import of labels."""


def notes(facts: Iterable[FeatureFact], *, may_keep: bool) -> list[str]:
    """One note for each SAE: what an import keeps of `facts`, or the reason why it keeps nothing."""
    return [_note(sae_id, of, _why_not(sae_id, of, may_keep)) for sae_id, of in _by_sae(facts)]


@transaction.atomic
def keep(facts: Iterable[FeatureFact], *, may_keep: bool) -> list[str]:
    """Write the labels, in place of earlier ones of their source, and the maxima of features without one.

    Returns what `notes` returns.
    """
    for sae_id, of in _by_sae(facts):
        # The lock keeps the SAE from being deleted until this transaction ends.
        sae = SAE.objects.select_for_update(no_key=True).filter(pk=sae_id).first()
        if sae and not _why_not(sae_id, of, may_keep):
            _keep_labels(sae, of)
            _keep_maxima(sae, {fact.index: fact.maximum for fact in of if fact.maximum is not None})
    return notes(facts, may_keep=may_keep)


def _by_sae(facts: Iterable[FeatureFact]) -> Iterator[tuple[str, list[FeatureFact]]]:
    ordered = sorted(facts, key=lambda fact: fact.sae_id)
    return ((sae_id, list(of)) for sae_id, of in groupby(ordered, key=lambda fact: fact.sae_id))


def _why_not(sae_id: str, facts: Sequence[FeatureFact], may_keep: bool) -> str:
    """The reason why nothing is kept, or ""."""
    sae = SAE.objects.filter(pk=sae_id).first() if "\0" not in sae_id else None
    if sae is None or not sae.d_sae:
        return "no such SAE is here" if sae is None else "its files are not here yet"
    if numbers := [fact.number for fact in facts if fact.number not in (None, sae.d_sae)]:
        return f"the SAE here has {sae.d_sae} features, expected {numbers[0]}"
    if (index := max(fact.index for fact in facts)) >= sae.d_sae:
        return f"feature {index} is out of range, the SAE here has {sae.d_sae} features"
    return "" if may_keep else f"this needs the permissions {' and '.join(PERMISSIONS)}"


def _note(sae_id: str, facts: Sequence[FeatureFact], why_not: str) -> str:
    labels = sum(bool(clean(fact.label)) for fact in facts)
    maxima = sum(fact.maximum is not None for fact in facts)
    counted = [(labels, f"label{pluralize(labels)}"), (maxima, f"maximum activation{pluralize(maxima)}")]
    some = " and ".join(f"{number} {name}" for number, name in counted if number)
    return f"SAE {sae_id}: {some} left out: {why_not}" if why_not else f"SAE {sae_id}: {some} kept"


def _keep_labels(sae: SAE, facts: Iterable[FeatureFact]) -> None:
    found = {
        (fact.index, clean(fact.source)[:SOURCE_LENGTH]): label
        for fact in facts
        if (label := clean(fact.label)[:LABEL_LENGTH])
    }
    rows = [FeatureLabel(sae=sae, index=index, source=source, label=label) for (index, source), label in found.items()]
    FeatureLabel.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["sae", "index", "source"], update_fields=["label"]
    )


def _keep_maxima(sae: SAE, maxima: dict[int, float]) -> None:
    rows = [Feature(sae=sae, index=index) for index in maxima]
    Feature.objects.bulk_create(rows, ignore_conflicts=True)
    unknown = list(Feature.objects.filter(sae=sae, index__in=maxima, maximum__isnull=True))
    for row in unknown:
        row.maximum, row.statistics_source = maxima[row.index], SOURCE
    Feature.objects.bulk_update(unknown, ["maximum", "statistics_source"], batch_size=1000)

"""Labels of features by themselves: the words on which a feature fires, and the tokens that it promotes."""

import csv
import io
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from django.db.models import Exists, OuterRef

from steering.errors import Refused
from steering.features.models import Feature, FeatureExample
from steering.labels.files import LabelFile, clean
from steering.labels.models import FeatureLabel, ImportedLabels
from steering.saes import SAE

SOURCE = "tokens"
WORDS, PROMOTED = 3, 3
LONGEST = 24
"""Characters of a word: in scripts without spaces a word has no end."""

Example = tuple[Sequence[str], Sequence[float]]
"""Tokens, and the activation on each."""


class NothingKnown(Refused):
    """An SAE of whose features neither tokens nor examples are known."""

    code = "features_unknown"
    status = 409


def suggest_labels(sae: SAE, *, replace: bool = False) -> ImportedLabels:
    """Label each feature of `sae` that has no label, with the source `tokens`; `replace` makes earlier ones again.

    Raises NothingKnown, or what `FeatureLabel.objects.import_files` raises.
    """
    known = Feature.objects.filter(sae=sae)
    if not known.exists():
        raise NothingKnown(f"nothing is known of the features of SAE {sae}: measure it, or import its features, first")
    others = FeatureLabel.objects.filter(sae_id=OuterRef("sae_id"), index=OuterRef("index"))
    unlabelled = known.exclude(Exists(others.exclude(source=SOURCE) if replace else others))
    with tempfile.TemporaryFile() as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["index", "label"])
        writer.writerows(_suggestions(sae, unlabelled.order_by("index").values_list("index", "promoted").iterator()))
        lines.flush()
        file.seek(0)
        labels = LabelFile(file, name=SOURCE, source=SOURCE)
        return FeatureLabel.objects.import_files(sae.pk, [labels], replace=replace)


def _suggestions(sae: SAE, features: Iterable[tuple[int, list[tuple[str, float]] | None]]) -> Iterator[tuple[int, str]]:
    """(feature, label) of `features`, (feature, promoted tokens) in order of the features."""
    rows = FeatureExample.objects.filter(sae=sae).order_by("index").values_list("index", "tokens", "values")
    examples = groupby(rows.iterator(), key=itemgetter(0))
    group = next(examples, None)
    for index, promoted in features:
        while group is not None and group[0] < index:
            group = next(examples, None)
        found = [(tokens, values) for _, tokens, values in group[1]] if group is not None and group[0] == index else []
        if label := suggestion(promoted or [], found):
            yield index, label


def suggestion(promoted: Iterable[tuple[str, float]], examples: Iterable[Example]) -> str:
    """A label of a feature: the words on which it fires most, then the tokens that it promotes; may be empty."""
    weights: defaultdict[str, float] = defaultdict(float)
    for tokens, values in examples:
        place = max(range(len(values)), key=values.__getitem__, default=None)
        if place is not None and values[place] > 0:
            weights[word_at(tokens, place)] += values[place]
    words = sorted((word for word in weights if word), key=lambda word: -weights[word])[:WORDS]
    named = (clean(token).lower() for token, logit in promoted if logit > 0)
    others = [word for word in dict.fromkeys(named) if word and word not in words][:PROMOTED]
    fires, promotes = ", ".join(words), ", ".join(others)
    return f"{fires} (promotes {promotes})" if fires and promotes else fires or (promotes and f"promotes {promotes}")


def word_at(tokens: Sequence[str], place: int) -> str:
    """The word of which the token is a part, in small letters; the token itself where the word is long."""
    start = end = place
    while start > 0 and _continues(tokens[start - 1], tokens[start]):
        start -= 1
    while end + 1 < len(tokens) and _continues(tokens[end], tokens[end + 1]):
        end += 1
    word = clean("".join(tokens[start : end + 1])).lower()
    return word if len(word) <= LONGEST else clean(tokens[place]).lower()


def _continues(before: str, after: str) -> bool:
    """Return True where no word ends between two tokens."""
    return before[-1:].isalnum() and after[:1].isalnum()

"""The differences between two profiles, two versions of a profile, or two versions of the live steering."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from steering.labels.models import FeatureLabel

COMPARED = ("name", "description", "model_id", "sae_id", "layer", "sae_fingerprint")


def diff(before: Any, after: Any, compared: Iterable[str] = COMPARED) -> dict[str, list[dict[str, Any]]]:
    """The fields (`changed`) and features that differ, each with both values; None for a missing feature.

    `before` is None for the first version.
    """
    fields = ((name, getattr(before, name, None), getattr(after, name)) for name in compared)
    changed = [{"field": name, "before": old, "after": new} for name, old, new in fields if old != new]
    old_features: Mapping[int, float] = getattr(before, "strengths", {})
    new_features: Mapping[int, float] = after.strengths
    features = [
        {"index": index, "before": old_features.get(index), "after": new_features.get(index)}
        for index in sorted(old_features.keys() | new_features.keys())
        if old_features.get(index) != new_features.get(index)
    ]
    return {"changed": changed, "features": features}


@dataclass(frozen=True)
class Change:
    """A field or a feature that differs, as text; an empty string for a missing value."""

    name: str
    before: str
    after: str

    @property
    def kind(self) -> str:
        return "changed" if self.before and self.after else "added" if self.after else "removed"


@dataclass(frozen=True)
class Difference:
    """The difference of two versions for a page; `more` is the number of features that are left out."""

    fields: list[Change]
    features: list[Change]
    more: int

    def __bool__(self) -> bool:
        return bool(self.fields or self.features)


def differences(
    pairs: Iterable[tuple[Any, Any]], names: Mapping[str, str], limit: int | None = None
) -> list[Difference]:
    """The difference of each (before, after), with the labels of the features, read in one query for all pairs.

    `names` maps the compared fields to their names in the page; `limit` is the most features of a pair.
    """
    found = [(before, after, diff(before, after, names)) for before, after in pairs]
    asked = [
        (_sae_of(feature, before, after), [feature["index"]])
        for before, after, difference in found
        for feature in difference["features"][:limit]
    ]
    labels = FeatureLabel.objects.of_many(asked)
    return [_told(before, after, difference, names, labels, limit) for before, after, difference in found]


def _told(
    before: Any,
    after: Any,
    difference: dict[str, list[dict[str, Any]]],
    names: Mapping[str, str],
    labels: Mapping[tuple[str, int], str],
    limit: int | None,
) -> Difference:
    fields = [Change(names[one["field"]], told(one["before"]), told(one["after"])) for one in difference["changed"]]
    features = []
    for one in difference["features"][:limit]:
        label = labels.get((_sae_of(one, before, after), one["index"]))
        name = f"{one['index']} — {label}" if label else str(one["index"])
        features.append(Change(name, told(one["before"]), told(one["after"])))
    fields = [field for field in fields if field.before != field.after]  # None and "" read the same
    return Difference(fields, features, len(difference["features"]) - len(features))


def _sae_of(feature: Mapping[str, Any], before: Any, after: Any) -> str:
    """The SAE of the feature: that of the side that has the feature."""
    side = before if feature["after"] is None else after
    return side.sae_id or ""


def told(value: Any) -> str:
    """A value as text."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)

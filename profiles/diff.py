"""The differences between two profiles, two versions of a profile, or two versions of the live steering."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steering.document.part import TOKEN_FLAGS
from steering.document.places import When
from steering.labels.models import FeatureLabel
from steering.strengths import Value, stored_values

FLAG_NAMES = {"special_tokens": "special tokens", "tools": "tool calls", "thinking": "reasoning"}
"""The names of TOKEN_FLAGS in pages."""
CONTENT_TITLES = {
    "description": "description",
    "tags": "tags",
    "notes": "notes",
    "model_id": "model",
    "sae_id": "SAE",
    "layer": "layer",
    "sae_fingerprint": "SAE fingerprint",
}
TITLES = {"name": "name", **CONTENT_TITLES}
"""The compared fields of a profile, with their names in pages."""
COMPARED = tuple(TITLES)
DEFAULTS: dict[str, Any] = {
    "unit": "raw",
    "intensity": 1.0,
    "positions": "all",
    **dict.fromkeys(TOKEN_FLAGS, True),
    "when": None,
}
"""The settings of a document, with their defaults."""
SETTING_NAMES = {**FLAG_NAMES, "when": "condition"}
OF_PART = ("layer", "sae_fingerprint", "unit", "positions", *TOKEN_FLAGS, "when")


def diff(before: Any, after: Any, compared: Iterable[str] = COMPARED) -> dict[str, list[dict[str, Any]]]:
    """The fields (`changed`) and features that differ, each with both values; None for a missing feature.

    Settings of the document are fields too; those of a part are called `also.<SAE>.<setting>`, and features of a part
    have the key `sae`. `before` is None for the first version.
    """
    fields = ((name, getattr(before, name, None), getattr(after, name)) for name in compared)
    features = list(_features(getattr(before, "strengths", {}), after.strengths))
    old, new = (getattr(side, "more", {}) for side in (before, after))
    settings = [
        *fields,
        *((name, old.get(name, default), new.get(name, default)) for name, default in DEFAULTS.items()),
    ]
    for name, sae, one, other in _parts(old, new):
        settings += [(f"also.{name}.{key}", one.get(key), other.get(key)) for key in OF_PART]
        found = _features(*(stored_values(side.get("features", {})) for side in (one, other)))
        features += [{**feature, "sae": sae} for feature in found]
    changed = [{"field": name, "before": a, "after": b} for name, a, b in settings if a != b]
    return {"changed": changed, "features": features}


def _features(before: Mapping[int, Any], after: Mapping[int, Any]) -> Iterator[dict[str, Any]]:
    for index in sorted(before.keys() | after.keys()):
        sides = (_strength(before.get(index)), _strength(after.get(index)))
        if sides[0] != sides[1]:
            yield {"index": index, "before": sides[0], "after": sides[1]}


def _strength(value: Any) -> Any:
    return value.as_json() if isinstance(value, Value) else value


def _parts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """Parts of the same SAE, in pairs: the name of the pair, the SAE, and the part of both sides, empty if missing."""
    sides = [_numbered(more.get("also", [])) for more in (before, after)]
    for sae, number in sorted(sides[0].keys() | sides[1].keys()):
        name = sae if number == 1 else f"{sae} ({number})"
        yield name, sae, sides[0].get((sae, number), {}), sides[1].get((sae, number), {})


def _numbered(parts: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
    numbers: dict[str, int] = defaultdict(int)
    found = {}
    for part in parts:
        numbers[part["sae"]] += 1
        found[part["sae"], numbers[part["sae"]]] = part
    return found


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
    fields = [
        Change(_named(one["field"], names), told(one["before"]), told(one["after"])) for one in difference["changed"]
    ]
    features = []
    for one in difference["features"][:limit]:
        label = labels.get((_sae_of(one, before, after), one["index"]))
        name = f"{one['index']} — {label}" if label else str(one["index"])
        name = f"{name} of {one['sae']}" if "sae" in one else name
        features.append(Change(name, told(one["before"]), told(one["after"])))
    fields = [field for field in fields if field.before != field.after]  # None and "" read the same
    return Difference(fields, features, len(difference["features"]) - len(features))


def _sae_of(feature: Mapping[str, Any], before: Any, after: Any) -> str:
    """The SAE of the feature: that of its part, or of the side that has the feature."""
    if "sae" in feature:
        return str(feature["sae"])
    side = before if feature["after"] is None else after
    return side.sae_id or ""


def _named(field: str, names: Mapping[str, str]) -> str:
    """The name of a field for people: that of the page, or words of a setting's path."""
    if not field.startswith("also."):
        return names.get(field) or SETTING_NAMES.get(field, field)
    sae, _, setting = field.removeprefix("also.").rpartition(".")
    return f"{SETTING_NAMES.get(setting, setting)} of {sae}"


def told(value: Any) -> str:
    """A value as text: of a field, a strength, positions or a condition."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict) and "above" in value:
        return str(When.parse(value, "when"))
    if isinstance(value, dict) and "of" in value:
        return " ".join([*(f"{name} {value[name]}" for name in ("first", "last") if name in value), "of", value["of"]])
    if isinstance(value, dict):
        return str(Value.stored(value))
    return "" if value is None else str(value)

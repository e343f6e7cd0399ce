"""A sum of documents, as a request asks for it: profiles with weights, features of its own, what steers live."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from steering.document.part import TOKEN_FLAGS, Part
from steering.document.places import may_overlap, parse_flag
from steering.document.steering import MAX_PARTS, SETTINGS, Steering, check_parts, parse_intensity
from steering.errors import InvalidSteering
from steering.spec import EVERYWHERE
from steering.strengths import Value, check_keys, check_number, effective, finite_number
from steering.validation import name_of

SHARED = ("unit", "positions", *TOKEN_FLAGS)
"""The settings of a document that its parts share."""
Weighted = tuple[Steering, float]
"""A document and the weight by which its intensity is multiplied."""


@dataclass(frozen=True)
class Composition:
    """What a request asks for: the weighted sum of profiles, by their names, and of `own`.

    `on_top` adds the sum to the live steering, which it replaces otherwise.
    """

    own: Steering = field(default_factory=Steering)
    profiles: Mapping[str, float] = field(default_factory=dict)
    on_top: bool = False

    @classmethod
    def parse(cls, data: object, *, d_sae: int | None = None, field: str = "steering") -> "Composition":
        """Parse a document that may have `profiles`, such as `{"ocean": 0.5}`, and `on_top`. Raises InvalidSteering."""
        if not isinstance(data, Mapping):
            expected = 'expected an object such as {"features": {"123": 5.0}}'
            raise InvalidSteering(f"got {name_of(data)}, {expected}", field)
        check_keys(data, ("features", *SETTINGS, "profiles", "on_top"), field)
        document = {name: value for name, value in data.items() if name not in {"profiles", "on_top"}}
        return cls(
            Steering.parse(document, d_sae=d_sae, field=field),
            _weights(data.get("profiles", {}), f"{field}.profiles"),
            parse_flag(data.get("on_top", False), f"{field}.on_top"),
        )


def combine(documents: Iterable[Weighted], sae: str, field: str = "steering") -> Steering:
    """The weighted sum of documents whose own features are of `sae`, at an intensity of 1.

    What is added to one feature is summed, and so are shares of scale and project. Parts of other positions,
    conditions or units stay parts of their own. Raises InvalidSteering where two parts clamp a feature to different
    values, and beyond the limits of a document.
    """
    groups: dict[Any, list[Part]] = defaultdict(list)
    for document, weight in documents:
        for part in document.scaled(weight).parts(sae):
            groups[_place(part)].append(part)
    parts = [part for several in groups.values() for part in _summed(several, field)]
    check_clamps(parts, field)
    return _document(parts, sae, field)


def check_clamps(parts: Iterable[Part], field: str = "steering") -> None:
    """Refuse two parts that clamp one feature at a token; each names all its settings. Raises InvalidSteering."""
    clamps = [(part, index, value) for part in parts for index, value in part.features.items() if value.is_clamp]
    by_feature: dict[tuple[str, int], list[tuple[Part, Value]]] = defaultdict(list)
    for part, index, value in clamps:
        by_feature[part.sae, index].append((part, value))
    for (sae, index), several in by_feature.items():
        for (one, a), (other, b) in combinations(several, 2):
            if may_overlap(one.positions or EVERYWHERE, other.positions or EVERYWHERE):
                _refuse_clamps(sae, index, (one, a), (other, b), field)


def _refuse_clamps(sae: str, index: int, one: tuple[Part, Value], other: tuple[Part, Value], field: str) -> None:
    values = [value.value for _, value in (one, other)]
    feature = f"feature {index} of SAE {sae}"
    if values[0] != values[1] or one[0].unit != other[0].unit:
        raise InvalidSteering(f"{feature} is clamped to {values[0]:g} and to {values[1]:g}, expected one value", field)
    raise InvalidSteering(f"{feature} is clamped by two parts whose tokens overlap, expected one part", field)


def _place(part: Part) -> tuple[Any, ...]:
    """Equal for parts that can be summed."""
    return part.sae, part.layer, part.unit, part.positions, *part.flags.values(), part.when


def _summed(parts: list[Part], field: str) -> Iterator[Part]:
    """The sum of parts of one place: one part, or more where a feature has several modes."""
    sums: dict[tuple[int, str], Value] = {}
    for index, value in (entry for part in parts for entry in part.features.items()):
        key = index, "clamp" if value.is_clamp else value.mode
        sums[key] = _sum(parts[0], index, sums[key], value, field) if key in sums else value
    sheets: list[dict[int, Value]] = []
    for (index, _), value in sums.items():
        free = next((sheet for sheet in sheets if index not in sheet), None)
        if free is None:
            sheets.append(free := {})
        free[index] = value
    fingerprint = next((part.sae_fingerprint for part in parts if part.sae_fingerprint), "")
    whole = (replace(parts[0], features=effective(sheet), sae_fingerprint=fingerprint) for sheet in sheets)
    yield from (part for part in whole if part.features)


def _sum(part: Part, index: int, a: Value, b: Value, field: str) -> Value:
    if a.is_clamp:
        if a.value != b.value:
            _refuse_clamps(part.sae, index, (part, a), (part, b), field)
        # Two clamps at full weight are one: a weight of 2 would push the feature beyond the value.
        return replace(a, weight=min(a.weight + b.weight, max(1.0, a.weight, b.weight)))
    total = a.value + b.value - (1 if a.mode == "scale" else 0)
    return replace(a, value=finite_number(total, f"{field}.features.{index}"))


def _document(parts: list[Part], sae: str, field: str) -> Steering:
    """One document of `parts`, whose settings are those of the first part of `sae`."""
    check_number(sum(len(part.features) for part in parts), field)
    own = next((part for part in parts if part.sae == sae and part.layer is None), None)
    check_parts(len(parts), field)
    if own is None:
        own = Part(sae, {}, unit="raw", positions=EVERYWHERE, special_tokens=True, tools=True, thinking=True)
    settings = {name: getattr(own, name) for name in SHARED}
    also = tuple(_shortened(part, own) for part in parts if part is not own)
    when = own.when and replace(own.when, sae="" if own.when.sae == sae else own.when.sae)
    document: dict[str, Any] = {**settings, "features": own.features, "also": also, "when": when}
    return Steering(**document)


def _shortened(part: Part, own: Part) -> Part:
    """`part` without the settings that it shares with `own`."""
    settings: dict[str, Any] = {
        name: None if getattr(part, name) == getattr(own, name) else getattr(part, name) for name in SHARED
    }
    when = part.when and replace(part.when, sae="" if part.when.sae == part.sae else part.when.sae)
    return replace(part, when=when, **settings)


def _weights(data: object, field: str) -> dict[str, float]:
    if not isinstance(data, Mapping):
        raise InvalidSteering(f"got {data!r:.100}, expected an object of profile name: weight", field)
    if len(data) > MAX_PARTS:
        raise InvalidSteering(f"got {len(data)} profiles, expected at most {MAX_PARTS}", field)
    return {str(name): parse_intensity(weight, f"{field}.{name!s:.100}") for name, weight in data.items()}

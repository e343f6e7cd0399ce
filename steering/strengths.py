"""The one validator of what features do, for REST, chat, pages, files and commands."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings

from steering.errors import InvalidSteering
from steering.spec import PLAIN
from steering.validation import name_of

INDEX = re.compile(r"[0-9]{1,10}\Z")
ABLATE = "ablate"
MODES = (PLAIN, "clamp", ABLATE, "scale", "project")
DEFAULTS = {"project": 1.0, ABLATE: 0.0}
"""The values of modes that need none."""
MAX_WEIGHT = 4.0
"""The largest weight of a clamp: a profile of intensity 2, at an intensity of 2."""
EXPECTED = "an object of feature index: strength"
Strength = float | dict[str, Any]
"""The value of a feature as JSON: a number, which is added, or an object with a mode."""


@dataclass(frozen=True)
class Value:
    """What one feature does: see `steering.spec.Change`. `weight` is the share of a clamp that takes effect."""

    value: float
    mode: str = PLAIN
    weight: float = 1.0

    @classmethod
    def stored(cls, strength: Strength) -> "Value":
        """The value of a strength that a column keeps, without checks."""
        if not isinstance(strength, dict):
            return cls(float(strength))
        mode = str(strength["mode"])
        value = strength["value"] if "value" in strength else DEFAULTS[mode]
        return cls(float(value), mode, float(strength.get("weight", 1.0)))

    def as_json(self) -> Strength:
        """A number for one that is added; else an object without defaults."""
        if self.mode == PLAIN:
            return self.value
        own = {} if self.value == DEFAULTS.get(self.mode) else {"value": self.value}
        return {"mode": self.mode, **own, **({} if self.weight == 1 else {"weight": self.weight})}

    def __str__(self) -> str:
        """For people: `5`, `clamp to 5`, `ablate`, `scale by 2`, `project 1`."""
        words = {PLAIN: "", "clamp": "clamp to ", ABLATE: ABLATE, "scale": "scale by ", "project": "project "}
        number = "" if self.mode == ABLATE else f"{self.value:g}"
        return f"{words[self.mode]}{number}{'' if self.weight == 1 else f', weight {self.weight:g}'}"

    @property
    def is_clamp(self) -> bool:
        """True of a clamp, and of an ablation, which is a clamp to 0."""
        return self.mode in {"clamp", ABLATE}

    @property
    def has_unit(self) -> bool:
        """True where the value counts in the unit of its part: scale and project are shares."""
        return self.mode == PLAIN or self.is_clamp

    @property
    def changes_nothing(self) -> bool:
        if self.is_clamp:
            return self.weight == 0
        return self.value == (1 if self.mode == "scale" else 0)

    def scaled(self, intensity: float) -> "Value":
        """This value at an intensity, 1 being as it is and 0 nothing."""
        if intensity == 1:
            return self
        if self.is_clamp:
            return replace(self, weight=self.weight * intensity)
        if self.mode == "scale":
            return replace(self, value=1 + intensity * (self.value - 1))
        return replace(self, value=self.value * intensity)


def parse_strengths(data: object, *, d_sae: int | None = None, field: str = "steering") -> dict[int, Strength]:
    """Parse {feature index: strength} from JSON or Python; returns it in order of index, without what changes nothing.

    Raises what `parse_entries` raises.
    """
    return as_strengths(effective(parse_entries(data, d_sae=d_sae, field=field)))


def parse_entries(data: object, *, d_sae: int | None = None, field: str = "steering") -> dict[int, Value]:
    """Parse {feature index: strength}; keeps the zeros and the order.

    A list is refused. Raises what `parse_values` raises.
    """
    if isinstance(data, list):
        raise InvalidSteering(f"got a list, expected {EXPECTED}", field)
    return parse_values(data, d_sae=d_sae, field=field)


def parse_values(data: object, *, d_sae: int | None = None, field: str = "steering") -> dict[int, Value]:
    """Parse what features do, in the order given: `{index: strength}`, or a list of `{"index": …, "strength": …}`.

    A strength is a number, or an object `{"mode": …, "value": …}`. Raises InvalidSteering naming the entry: an index
    that is no integer >= 0 (and below `d_sae` where that is known), given twice ("7" and "07"), a number that is not
    finite or beyond STEERING_MAX_STRENGTH, an unknown mode or key, or more than STEERING_MAX_FEATURES entries.
    """
    if not isinstance(data, Mapping | list):
        raise InvalidSteering(f"got {name_of(data)}, expected {EXPECTED}", field)
    check_number(len(data), field)
    values: dict[int, Value] = {}
    for key, value, path in _listed(data, field) if isinstance(data, list) else _mapped(data, field):
        index = check_index(key, d_sae, path if isinstance(data, list) else field, path)
        if index in values:
            raise InvalidSteering(f"feature {index} is given twice", path)
        values[index] = _value(value, path)
    return values


def effective(values: Mapping[int, Value]) -> dict[int, Value]:
    """`values` in order of index, without those that change nothing."""
    return {index: value for index, value in sorted(values.items()) if not value.changes_nothing}


def as_strengths(values: Mapping[int, Value]) -> dict[int, Strength]:
    return {index: value.as_json() for index, value in values.items()}


def stored_values(strengths: Mapping[Any, Strength]) -> dict[int, Value]:
    """The values of strengths that a column keeps, without checks."""
    return {int(index): Value.stored(strength) for index, strength in strengths.items()}


def check_number(features: int, field: str) -> None:
    """Raises InvalidSteering beyond STEERING_MAX_FEATURES."""
    if features > (most := settings.STEERING_MAX_FEATURES):
        raise InvalidSteering(f"got {features} features, expected at most {most}", field)


def check_index(key: object, d_sae: int | None, field: str, path: str) -> int:
    """The index of a feature. Raises InvalidSteering, for `path` where `key` is an index, else for `field`."""
    if isinstance(key, bool) or not (
        (isinstance(key, int) and key >= 0) or (isinstance(key, str) and INDEX.match(key))
    ):
        raise InvalidSteering(f"got index {key!r:.100}, expected an integer >= 0", field)
    index = int(key)
    if index >= 2**31:
        raise InvalidSteering(f"got index {index}, expected one below 2147483648", field)
    if d_sae is not None and index >= d_sae:
        raise InvalidSteering(f"feature {index} is out of range: the SAE has {d_sae} features", path)
    return index


def finite_number(value: object, field: str, least: float | None = None, most: float | None = None) -> float:
    """A number from `least` to `most`, by default within STEERING_MAX_STRENGTH. Raises InvalidSteering."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidSteering(f"got {value!r:.100}, expected a finite number", field)
    limit = settings.STEERING_MAX_STRENGTH
    least, most = -limit if least is None else least, limit if most is None else most
    if not (least <= value <= most) or math.isnan(value):
        raise InvalidSteering(f"got {value!r:.100}, expected a finite number from {least:g} to {most:g}", field)
    return float(value)


def check_keys(data: Mapping[Any, Any], known: Iterable[str], field: str) -> None:
    """Refuse a key that is not among `known`. Raises InvalidSteering, which names the key."""
    expected = tuple(known)
    for key in data:
        if key not in expected:
            path = ".".join(part for part in (field, f"{key!s:.100}") if part)
            raise InvalidSteering(f"this key is unknown: expected {', '.join(expected)}", path)


def _mapped(data: Mapping[Any, Any], field: str) -> Iterable[tuple[object, object, str]]:
    return ((key, value, f"{field}.{key}") for key, value in data.items())


def _listed(data: list[Any], field: str) -> Iterable[tuple[object, object, str]]:
    """The entries of a list, as upstream's user interface writes them; a label is for readers of the JSON."""
    if not all(isinstance(entry, Mapping) for entry in data):
        expected = f'expected {EXPECTED}, or a list of {{"index": …, "strength": …}}'
        raise InvalidSteering(f"got a list of something else, {expected}", field)
    for at, entry in enumerate(data):
        path = f"{field}.{at}"
        check_keys(entry, ("index", "strength", "label"), path)
        for name in ("index", "strength"):
            if name not in entry:
                raise InvalidSteering("this key is required", f"{path}.{name}")
        yield entry["index"], entry["strength"], path


def _value(data: object, path: str) -> Value:
    if not isinstance(data, Mapping):
        return Value(finite_number(data, path))
    mode = data.get("mode", PLAIN)
    if mode not in MODES:
        raise InvalidSteering(f"got {mode!r:.100}, expected one of {', '.join(MODES)}", f"{path}.mode")
    is_clamp = mode in {"clamp", ABLATE}
    known = ["mode", *([] if mode == ABLATE else ["value"]), *(["weight"] if is_clamp else [])]
    check_keys(data, known, path)
    value = data.get("value", DEFAULTS.get(mode))
    if value is None:
        raise InvalidSteering(f"got none, expected a number for the mode {mode}", f"{path}.value")
    weight = finite_number(data.get("weight", 1.0), f"{path}.weight", 0, MAX_WEIGHT)
    return Value(finite_number(value, f"{path}.value"), mode, weight)

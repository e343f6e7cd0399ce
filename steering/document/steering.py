"""The document: features of the own SAE, further parts, and settings of all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from steering.document.part import TOKEN_FLAGS, Features, Part, place_as_json
from steering.document.places import RAW, Unit, When, parse_flag, parse_positions, parse_unit
from steering.errors import InvalidSteering
from steering.spec import EVERYWHERE, Positions
from steering.strengths import (
    Strength,
    Value,
    as_strengths,
    check_keys,
    check_number,
    effective,
    finite_number,
    parse_values,
    stored_values,
)
from steering.validation import name_of

MAX_INTENSITY = 2.0
MAX_PARTS = 16
"""Parts of a steering, the own features being one."""
SETTINGS = ("also", "unit", "intensity", "positions", *TOKEN_FLAGS, "when")
"""The keys of a document beside `features`, which the column `more` keeps."""


@dataclass(frozen=True)
class Steering:
    """What steers. Documents are equal where they have the same features, parts and settings.

    `features` are of the own SAE, in order of index, without those that change nothing. `when` is of the own features
    alone; the other settings are of all parts that name none of their own.
    """

    features: Mapping[int, Value] = field(default_factory=dict)
    also: tuple[Part, ...] = ()
    unit: Unit = RAW
    intensity: float = 1.0
    positions: Positions = EVERYWHERE
    special_tokens: bool = True
    tools: bool = True
    thinking: bool = True
    when: When | None = None

    @classmethod
    def parse(cls, data: object, *, d_sae: int | None = None, field: str = "steering") -> "Steering":
        """Parse a document from JSON. `d_sae` is the number of the own SAE's features, where it is known.

        Raises InvalidSteering, which names the path of the first wrong part under `field`.
        """
        if not isinstance(data, Mapping):
            expected = 'expected an object such as {"features": {"123": 5.0}}'
            raise InvalidSteering(f"got {name_of(data)}, {expected}", field)
        check_keys(data, ("features", *SETTINGS), field)
        more = {name: value for name, value in data.items() if name != "features"}
        return cls.of_columns(data.get("features", {}), more, d_sae=d_sae, field=field)

    @classmethod
    def of_columns(
        cls,
        strengths: object,
        more: Mapping[str, Any],
        *,
        d_sae: int | None = None,
        field: str = "",
        features_field: str | None = None,
    ) -> "Steering":
        """Parse a document in two parts: the features, which errors call `features_field`, and all other keys.

        Raises InvalidSteering.
        """
        own = parse_values(strengths, d_sae=d_sae, field=features_field or _path(field, "features"))
        parsed = cls._of(effective(own), more, field, lambda data, path: effective(parse_values(data, field=path)))
        check_parts(len(parsed.also) + bool(parsed.features), _path(field, "also"))
        check_number(parsed.number, features_field or field)
        return parsed

    @classmethod
    def join(cls, strengths: Mapping[Any, Strength], more: Mapping[str, Any]) -> "Steering":
        """The document of the two columns `strengths` and `more`, whose limits are not checked again."""
        return cls._of(stored_values(strengths), more, "", lambda data, _path: stored_values(data))

    @classmethod
    def _of(cls, own: dict[int, Value], more: Mapping[str, Any], field: str, features: Features) -> "Steering":
        check_keys(more, SETTINGS, field)
        parsers: dict[str, Any] = {
            "also": lambda data, path: tuple(_parts(data, path, features)),
            "unit": parse_unit,
            "intensity": parse_intensity,
            "positions": parse_positions,
            **dict.fromkeys(TOKEN_FLAGS, parse_flag),
            "when": When.parse,
        }
        settings = {name: parse(more[name], _path(field, name)) for name, parse in parsers.items() if name in more}
        return cls(own, **settings)

    def split(self) -> tuple[dict[int, Strength], dict[str, Any]]:
        """The columns `strengths` and `more`; `more` is empty for features alone."""
        changed = place_as_json(
            None if self.unit == RAW else self.unit,
            None if self.positions == EVERYWHERE else self.positions,
            {name: None if getattr(self, name) else False for name in TOKEN_FLAGS},
            self.when,
        )
        also = {"also": [part.as_json() for part in self.also]} if self.also else {}
        intensity = {} if self.intensity == 1 else {"intensity": self.intensity}
        unit = {"unit": changed.pop("unit")} if "unit" in changed else {}
        return as_strengths(self.features), {**also, **unit, **intensity, **changed}

    def as_json(self) -> dict[str, Any]:
        """The document, without what has its default; `features` is always there."""
        strengths, more = self.split()
        return {"features": {str(index): strength for index, strength in strengths.items()}, **more}

    def __bool__(self) -> bool:
        """True where there is a feature, of any SAE."""
        return bool(self.features or self.also)

    @property
    def is_plain(self) -> bool:
        """True where the document is features that are added at every token, as profiles of older versions are."""
        return not self.split()[1] and all(isinstance(one, float) for one in as_strengths(self.features).values())

    @property
    def number(self) -> int:
        """The number of features, of all parts."""
        return len(self.features) + sum(len(part.features) for part in self.also)

    def with_features(self, features: Mapping[int, Value]) -> "Steering":
        """This document with other own features."""
        return replace(self, features=effective(features))

    def scaled(self, intensity: float) -> "Steering":
        """This document with `intensity` times its intensity, which may be beyond 2 then."""
        return replace(self, intensity=self.intensity * intensity)

    def naming(self, sae: str) -> "Steering":
        """This document with its own features as a part that names their SAE."""
        own = (Part(sae, self.features, when=self.when),) if self.features else ()
        return replace(self, features={}, when=None, also=(*own, *self.also))

    def parts(self, sae: str) -> list[Part]:
        """All parts, the own features first as a part of `sae`; each names its settings, at an intensity of 1.

        Values and weights are scaled by the intensity, and what changes nothing is left out.
        """
        return [part for _, part in self.located_parts(sae)]

    def located_parts(self, sae: str) -> list[tuple[str, Part]]:
        """`parts` with the paths of each, which is empty for the own features."""
        own = [("", Part(sae, self.features, when=self.when))] if self.features else []
        also = [(f"also.{at}", part) for at, part in enumerate(self.also)]
        found = [(path, self._whole(part)) for path, part in (*own, *also)]
        return [(path, part) for path, part in found if part.features]

    def _whole(self, part: Part) -> Part:
        values = {index: value.scaled(self.intensity) for index, value in part.features.items()}
        flags: dict[str, Any] = {name: getattr(self, name) if own is None else own for name, own in part.flags.items()}
        return replace(
            part,
            features=effective(values),
            unit=part.unit or self.unit,
            positions=part.positions or self.positions,
            when=part.when and replace(part.when, sae=part.when.sae or part.sae),
            **flags,
        )


def parse_intensity(data: object, field: str = "intensity") -> float:
    """A number from 0 to 2. Raises InvalidSteering."""
    return finite_number(data, field, 0, MAX_INTENSITY)


def check_parts(parts: int, field: str) -> None:
    """Raises InvalidSteering beyond MAX_PARTS."""
    if parts > MAX_PARTS:
        raise InvalidSteering(f"got {parts} parts, expected at most {MAX_PARTS}", field)


def _parts(data: object, field: str, features: Features) -> Iterator[Part]:
    """The parts of `also` that have features. Raises InvalidSteering."""
    if not isinstance(data, list):
        raise InvalidSteering(f"got {name_of(data)}, expected a list of parts", field)
    check_parts(len(data), field)
    parts = (Part.of(one, f"{field}.{at}", features) for at, one in enumerate(data))
    yield from (part for part in parts if part.features)


def _path(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name

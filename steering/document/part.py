"""A part of a document: features of one SAE, or vectors of one set, at the same tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steering.document.places import (
    Unit,
    When,
    parse_flag,
    parse_id,
    parse_layer,
    parse_positions,
    parse_unit,
    positions_as_json,
)
from steering.errors import InvalidSteering
from steering.spec import Positions
from steering.strengths import Value, as_strengths

Features = Callable[[Any, str], dict[int, Value]]
"""A parser of features, which gets their JSON and its path."""
FINGERPRINT_LENGTH = 64
TOKEN_FLAGS = ("special_tokens", "tools", "thinking")
"""The keys that are true where special tokens, tool calls and the reasoning are steered."""


@dataclass(frozen=True)
class Part:
    """A part of `also`. `unit`, `positions` and TOKEN_FLAGS are those of the document where they are None.

    `layer` is the layer of the SAE, or the one layer of a vector set; None is any, and all layers of a set.
    """

    sae: str
    features: Mapping[int, Value]
    layer: int | None = None
    sae_fingerprint: str = ""
    unit: Unit | None = None
    positions: Positions | None = None
    special_tokens: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None
    when: When | None = None

    @classmethod
    def of(cls, data: object, field: str, features: Features) -> "Part":
        """Parse a part; `features` parses its features. Raises InvalidSteering."""
        if not isinstance(data, Mapping):
            expected = 'expected an object such as {"sae": "an-sae", "features": {"7": 2.0}}'
            raise InvalidSteering(f"got {data!r:.100}, {expected}", field)
        if unknown := [key for key in data if key not in PARSERS]:
            path = f"{field}.{unknown[0]!s:.100}"
            raise InvalidSteering(f"this key is unknown: expected {', '.join(PARSERS)}", path)
        for name in ("sae", "features"):
            if name not in data:
                raise InvalidSteering("this key is required", f"{field}.{name}")
        parsed: dict[str, Any] = {
            name: parse(data[name], f"{field}.{name}") for name, parse in PARSERS.items() if name in data
        }
        return cls(**{**parsed, "features": features(data["features"], f"{field}.features")})

    @property
    def flags(self) -> dict[str, bool | None]:
        """The values of TOKEN_FLAGS."""
        return {name: getattr(self, name) for name in TOKEN_FLAGS}

    def as_json(self) -> dict[str, Any]:
        """The part without what it takes from the document."""
        places = place_as_json(self.unit, self.positions, self.flags, self.when)
        return {
            "sae": self.sae,
            **({} if self.layer is None else {"layer": self.layer}),
            **({"sae_fingerprint": self.sae_fingerprint} if self.sae_fingerprint else {}),
            "features": {str(index): strength for index, strength in as_strengths(self.features).items()},
            **places,
        }


def place_as_json(
    unit: Unit | None, positions: Positions | None, flags: Mapping[str, bool | None], when: When | None
) -> dict[str, Any]:
    """Those that are not None."""
    forms: dict[str, Any] = {
        "unit": unit,
        "positions": positions and positions_as_json(positions),
        **flags,
        "when": when and when.as_json(),
    }
    return {name: form for name, form in forms.items() if form is not None}


def _parse_fingerprint(data: object, field: str) -> str:
    if not isinstance(data, str) or len(data) > FINGERPRINT_LENGTH or "\0" in data:
        raise InvalidSteering(f"got {data!r:.100}, expected the fingerprint of an SAE", field)
    return data


def _nothing(data: object, field: str) -> object:
    return data


PARSERS: dict[str, Callable[[object, str], object]] = {
    "sae": parse_id,
    "layer": parse_layer,
    "sae_fingerprint": _parse_fingerprint,
    "features": _nothing,
    "unit": parse_unit,
    "positions": parse_positions,
    **dict.fromkeys(TOKEN_FLAGS, parse_flag),
    "when": When.parse,
}
"""The keys of a part, with their parsers."""

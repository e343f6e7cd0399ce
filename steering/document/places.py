"""Units, positions and conditions of a document: their forms in JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from steering.errors import InvalidSteering
from steering.spec import Positions
from steering.strengths import check_index, check_keys, finite_number

Unit = Literal["raw", "max_activation", "residual"]
RAW: Unit = "raw"
UNITS: tuple[Unit, ...] = (RAW, "max_activation", "residual")
OF = ("all", "prompt", "answer")
ID_LENGTH = 200
MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True)
class When:
    """The condition of a part: feature `index` is above `above` at a token; see `steering.spec.Condition`.

    `sae` is the id of an attached SAE or vector set; empty is that of the part.
    """

    index: int
    above: float
    sae: str = ""
    so_far: bool = False

    @classmethod
    def parse(cls, data: object, field: str) -> "When":
        """Parse `{"feature": index, "above": activation}`, with `sae` and `so_far`. Raises InvalidSteering."""
        content = _object(data, 'an object such as {"feature": 12, "above": 3.0}', field)
        check_keys(content, ("feature", "above", "sae", "so_far"), field)
        for name in ("feature", "above"):
            if name not in content:
                raise InvalidSteering("this key is required", f"{field}.{name}")
        feature = f"{field}.feature"
        return cls(
            check_index(content["feature"], None, feature, feature),
            finite_number(content["above"], f"{field}.above", -1e9, 1e9),
            parse_id(content["sae"], f"{field}.sae") if "sae" in content else "",
            parse_flag(content.get("so_far", False), f"{field}.so_far"),
        )

    def __str__(self) -> str:
        """For people: `feature 12 of an-sae above 3, so far`."""
        of = f" of {self.sae}" if self.sae else ""
        return f"feature {self.index}{of} above {self.above:g}{', so far' if self.so_far else ''}"

    def as_json(self) -> dict[str, Any]:
        named = {"sae": self.sae} if self.sae else {}
        return {"feature": self.index, "above": self.above, **named, **({"so_far": True} if self.so_far else {})}


def parse_unit(data: object, field: str) -> Unit:
    """Raises InvalidSteering."""
    if data not in UNITS:
        raise InvalidSteering(f"got {data!r:.100}, expected one of {', '.join(UNITS)}", field)
    return cast(Unit, data)


def parse_positions(data: object, field: str) -> Positions:
    """Parse `"prompt"`, or `{"of": "prompt", "last": n}`; of the answer and of all only `first`.

    Raises InvalidSteering.
    """
    expected = 'all, prompt, answer, or an object such as {"of": "answer", "first": 10}'
    if isinstance(data, str):
        return Positions(_of(data, expected, field))
    content = _object(data, expected, field)
    check_keys(content, ("of", "first", "last"), field)
    of = _of(content.get("of", "all"), ", ".join(OF), f"{field}.of")
    if "first" in content and "last" in content:
        raise InvalidSteering("got first and last, expected one of them", field)
    if "last" in content and of != "prompt":
        raise InvalidSteering(f"got last of {of}, expected last of prompt: the end of an answer is unknown", field)
    first, last = (_tokens(content[name], f"{field}.{name}") if name in content else None for name in ("first", "last"))
    return Positions(of, first, last)


def positions_as_json(positions: Positions) -> str | dict[str, Any]:
    numbers = {"first": positions.first, "last": positions.last}
    some = {name: number for name, number in numbers.items() if number is not None}
    return {"of": positions.of, **some} if some else positions.of


def may_overlap(one: Positions, other: Positions) -> bool:
    """True unless no token can be in both."""
    return {one.of, other.of} != {"prompt", "answer"}


def parse_flag(data: object, field: str) -> bool:
    """Raises InvalidSteering."""
    if not isinstance(data, bool):
        raise InvalidSteering(f"got {data!r:.100}, expected true or false", field)
    return data


def parse_id(data: object, field: str) -> str:
    """The id of an SAE. Raises InvalidSteering."""
    if not isinstance(data, str) or not 0 < len(data) <= ID_LENGTH or "\0" in data:
        raise InvalidSteering(f"got {data!r:.100}, expected the id of an SAE or a vector set", field)
    return data


def parse_layer(data: object, field: str) -> int:
    """Raises InvalidSteering."""
    if isinstance(data, bool) or not isinstance(data, int) or not 0 <= data < 2**31:
        raise InvalidSteering(f"got {data!r:.100}, expected a layer, an integer >= 0", field)
    return data


def _of(data: object, expected: str, field: str) -> Literal["all", "prompt", "answer"]:
    if data not in OF:
        raise InvalidSteering(f"got {data!r:.100}, expected {expected}", field)
    return cast(Literal["all", "prompt", "answer"], data)


def _tokens(data: object, field: str) -> int:
    if isinstance(data, bool) or not isinstance(data, int) or not 1 <= data <= MOST_TOKENS:
        raise InvalidSteering(f"got {data!r:.100}, expected a number of tokens, an integer >= 1", field)
    return data


def _object(data: object, expected: str, field: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidSteering(f"got {data!r:.100}, expected {expected}", field)
    return data

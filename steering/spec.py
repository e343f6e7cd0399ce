"""The immutable snapshot of the steering of one request."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any, Literal

Mode = Literal["add", "clamp", "scale", "project"]
"""What a change does to the residual stream: see `Change`. To ablate a feature is to clamp it to 0."""
PLAIN: Mode = "add"
Region = Literal["content", "reasoning", "call"]
"""What a token is a part of: the text for the user, the reasoning, or a call of a tool."""


@dataclass(frozen=True)
class SAEPlace:
    """Where the files of an SAE lie: a hub id with its revision ("" is main) or a folder, and the path in it."""

    source: str
    revision: str = ""
    path: str = ""


NOWHERE = SAEPlace("")
"""The place in a spec for an engine that gets its directions from somebody else."""


@dataclass(frozen=True)
class Change:
    """What one feature does to the residual stream `h` at the hook point, where `d` is its decoder direction.

    `f` is the feature's activation before any steering at that hook point, `d̂ = d/‖d‖`:

    - add: `h + value·d`
    - clamp: `h + weight·(value − f)·d`
    - scale: `h + (value − 1)·f·d`
    - project: `h − value·(h·d̂)·d̂`

    Where `is_length` is true, `value` of an add or a clamp counts in lengths of `d̂`: `value/‖d‖` takes its place.
    """

    index: int
    value: float
    mode: Mode = PLAIN
    weight: float = 1.0
    is_length: bool = False

    @property
    def changes_nothing(self) -> bool:
        neutral = {"add": self.value == 0, "clamp": self.weight == 0, "scale": self.value == 1}
        return neutral.get(self.mode, self.value == 0)

    @property
    def needs_encoder(self) -> bool:
        """True where the change depends on the feature's activation."""
        return self.mode in {"clamp", "scale"}


@dataclass(frozen=True)
class Positions:
    """The tokens that are steered: all, those of the prompt, or those of the answer; `first` or `last` n of these.

    The last n tokens of an answer are unknown while it is made: `last` is for the prompt only. A token of the answer
    is steered when the model reads it, so that it changes the tokens after it.
    """

    of: Literal["all", "prompt", "answer"] = "all"
    first: int | None = None
    last: int | None = None


EVERYWHERE = Positions()


@dataclass(frozen=True)
class Condition:
    """Feature `index` of an SAE is above `above` at a token; with `so_far` at this token or at an earlier one.

    Of a vector set the value is `h·d̂`, the component of the residual stream along the vector. The hook point is that
    of the steered part, or one that the model passes before it.
    """

    sae_id: str
    sae_fingerprint: str
    layer: int
    hook_name: str
    index: int
    above: float
    so_far: bool = False
    place: SAEPlace = NOWHERE


@dataclass(frozen=True)
class SteeringPart:
    """Changes by features of one SAE, or by vectors of one set, at one hook point, at the same tokens.

    `changes` are in order of index. A worker reads the SAE at `place`.
    """

    sae_id: str
    sae_fingerprint: str
    layer: int
    hook_name: str
    changes: tuple[Change, ...]
    place: SAEPlace = NOWHERE
    positions: Positions = EVERYWHERE
    special_tokens: bool = True
    """False where special tokens of the tokenizer are not steered."""
    when: Condition | None = None
    tools: bool = True
    """False where the tokens of tool calls are not steered."""
    thinking: bool = True
    """False where the tokens of the reasoning are not steered."""

    @property
    def has_regions(self) -> bool:
        """True where the part leaves out the tokens of calls or of the reasoning."""
        return not (self.tools and self.thinking)

    def steers_region(self, region: Region) -> bool:
        """True where tokens of the region are steered."""
        return {"reasoning": self.thinking, "call": self.tools}.get(region, True)


@dataclass(frozen=True)
class SteeringSpec:
    """The parts that steer one request, as they are sent in the task message; each has changes.

    All parts at one hook point are computed from the same residual stream, and their changes are summed. `of` brings
    the parts into one order and leaves out what changes nothing: two equal steerings are equal specs and have equal
    fingerprints. An unsteered request has no spec (`None`).
    """

    parts: tuple[SteeringPart, ...]

    @classmethod
    def of(cls, parts: Iterable[SteeringPart]) -> "SteeringSpec | None":
        """The spec of these parts, or None where they steer nothing."""
        kept = [replace(part, changes=changes) for part in parts if (changes := _in_order(part.changes))]
        return cls(tuple(sorted(kept, key=_order) if len(kept) > 1 else kept)) if kept else None

    @classmethod
    def build(
        cls,
        sae_id: str,
        sae_fingerprint: str,
        layer: int,
        hook_name: str,
        strengths: Mapping[int, float],
        place: SAEPlace = NOWHERE,
    ) -> "SteeringSpec | None":
        """The spec of strengths of features of one SAE, added at every token, or None where they steer nothing."""
        changes = tuple(Change(index, float(strength)) for index, strength in strengths.items())
        return cls.of([SteeringPart(sae_id, sae_fingerprint, layer, hook_name, changes, place)])

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this steering: equal for equal steerings, whoever built them."""
        return fingerprint_of(self.parts)

    @property
    def has_regions(self) -> bool:
        """True where a part leaves out the tokens of calls or of the reasoning."""
        return any(part.has_regions for part in self.parts)

    @property
    def features(self) -> int:
        """The number of changes."""
        return sum(len(part.changes) for part in self.parts)


def fingerprint_of(parts: Iterable[SteeringPart]) -> str:
    """16 hex digits of what `parts` do.

    The fingerprint of an SAE stands for its weights, wherever they lie; while it is unknown, the place does.
    """
    return hashlib.sha256(json.dumps([_named(part) for part in parts]).encode()).hexdigest()[:16]


def _named(part: SteeringPart) -> list[Any]:
    # `asdict` would copy each change into an object: a steering may have thousands.
    changes = [(one.index, one.value, one.mode, one.weight, one.is_length) for one in part.changes]
    when = part.when
    condition = when and [*_weights(when), when.hook_name, when.index, when.above, when.so_far]
    # A steering without the last keys keeps the fingerprint that it had before they were known.
    unsteered = [name for name in ("tools", "thinking") if not getattr(part, name)]
    where = [part.positions.of, part.positions.first, part.positions.last, part.special_tokens, *unsteered]
    return [*_weights(part), part.layer, part.hook_name, changes, where, condition]


def _weights(named: SteeringPart | Condition) -> list[Any]:
    return [named.sae_id, named.sae_fingerprint, [] if named.sae_fingerprint else list(astuple(named.place))]


def _in_order(changes: Iterable[Change]) -> tuple[Change, ...]:
    kept = (change for change in changes if not change.changes_nothing)
    return tuple(sorted(kept, key=lambda change: (change.index, change.mode, change.value)))


def _order(part: SteeringPart) -> tuple[Any, ...]:
    return part.layer, part.hook_name, part.sae_id, json.dumps(_named(part))

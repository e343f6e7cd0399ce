"""From the parts that steer a token to vectors and columns at hook points."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from inference.engine.steering.columns import Column
from inference.engine.steering.placement import Parts
from inference.engine.steering.weights import FeatureEncoder, SteeringWeights
from inference.interface import GenerationError
from steering.architectures import parse_hook_name, pass_order
from steering.formats.config import BrokenDecoder
from steering.spec import Change, Condition, SteeringPart

HookPlace = tuple[int, str]
"""A zero-based layer and a hook point in it."""

T = TypeVar("T")


class LateCondition(GenerationError):
    """A condition on a hook point that the model passes after the one where it should steer."""

    param = "steering"


@dataclass
class Program:
    """What steers a token: at each hook point a vector, (d_model,) float32, and columns."""

    vectors: dict[HookPlace, Tensor] = field(default_factory=dict)
    columns: dict[HookPlace, list[Column]] = field(default_factory=dict)

    @property
    def places(self) -> set[HookPlace]:
        return self.vectors.keys() | self.columns.keys()

    def add_vector(self, place: HookPlace, vector: Tensor) -> None:
        self.vectors[place] = self.vectors[place] + vector if place in self.vectors else vector

    def add_columns(self, place: HookPlace, columns: list[Column]) -> None:
        self.columns.setdefault(place, []).extend(columns)


def program_of(parts: Parts, conditions: Mapping[Condition, int], weights: SteeringWeights) -> Program:
    """The program of tokens that `parts` steer; `conditions` are the numbers of all conditions of their request.

    Every token of the request decides all of them, since a condition may ask for any token so far. Raises
    LateCondition, and what reading the weights raises.
    """
    program = Program()
    for condition, number in conditions.items():
        column = Column(weights.encoder(condition), None, decides=number, above=condition.above)
        program.add_columns(parse_hook_name(condition.hook_name), [column])
    for part in parts:
        _add(program, part, conditions[part.when] if part.when else 0, weights)
    return program


def _add(program: Program, part: SteeringPart, gate: int, weights: SteeringWeights) -> None:
    place = parse_hook_name(part.hook_name)
    if part.when and pass_order(part.when.hook_name) > pass_order(part.hook_name):
        raise LateCondition(
            f"the condition reads {part.when.hook_name}, which the model passes after {part.hook_name}: "
            "expected the hook point of the steered part, or an earlier one"
        )
    directions = weights.directions(part)
    added = torch.zeros_like(directions[0])
    for change, direction in zip(part.changes, directions, strict=True):
        if change.mode == "add":
            added += _raw(change, direction) * direction
    if not torch.isfinite(added).all():
        raise BrokenDecoder(f"SAE {part.sae_id}: the sum of these decoder directions is not finite")
    columns = _columns(part, directions, gate, weights)
    if gate and any(change.mode == "add" for change in part.changes):
        columns.append(Column(None, added, constant=1.0, gate=gate))
    elif not gate:
        program.add_vector(place, added)
    if columns:
        program.add_columns(place, columns)


def _columns(part: SteeringPart, directions: Tensor, gate: int, weights: SteeringWeights) -> list[Column]:
    encoders = weights.encoders(part) if any(change.needs_encoder for change in part.changes) else []
    columns = []
    for index, (change, direction) in enumerate(zip(part.changes, directions, strict=True)):
        if change.mode == "project":
            unit = direction / direction.norm().clamp(min=1e-12)
            columns.append(Column(FeatureEncoder(direction=unit), unit, slope=-change.value, gate=gate))
        elif change.mode == "clamp":
            constant = change.weight * _raw(change, direction)
            columns.append(Column(encoders[index], direction, constant, -change.weight, gate))
        elif change.mode == "scale":
            columns.append(Column(encoders[index], direction, slope=change.value - 1, gate=gate))
    return columns


def _raw(change: Change, direction: Tensor) -> float:
    """The value in units of the decoder direction."""
    return change.value / max(float(direction.norm()), 1e-12) if change.is_length else change.value

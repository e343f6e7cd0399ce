"""The steering that a request carries to the processes that run the model."""

import io
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import torch

from inference.engine.steering.placement import Placement, key_of
from inference.engine.steering.program import HookPlace, Program, program_of
from inference.engine.steering.weights import SteeringWeights
from inference.interface import EngineUnsupported
from steering.spec import SteeringSpec


@dataclass(frozen=True)
class Payload:
    """What steers the tokens of one text: `programs` by key, and the key of each token; "" is unsteered.

    `segments` are (first position, key of a plain token, key of a special token), in the order of the text. `salt` is
    that of the request's KV blocks.
    """

    segments: list[tuple[int, str, str]]
    programs: dict[str, Program]
    salt: str = ""

    @classmethod
    def of(
        cls,
        spec: SteeringSpec,
        prompt_tokens: int,
        special: Collection[int],
        weights: SteeringWeights,
        losses: int = 0,
    ) -> Self:
        """The payload of a request whose prompt has `prompt_tokens` tokens; `special` are ids of special tokens.

        `losses` is the number of requests under this steering that were lost so far.

        Raises EngineUnsupported, and what reading the weights raises.
        """
        _check(spec)
        segments = Placement(spec, prompt_tokens, special).segments
        sets = {parts for _, plain, at_special in segments for parts in (plain, at_special)}
        programs = {key_of(parts): _checked(program_of(parts, {}, weights)) for parts in sets if parts}
        keys = [(start, key_of(plain), key_of(at)) for start, plain, at in segments]
        return cls(keys, programs, salt_of(spec, prompt_tokens, losses))

    @property
    def places(self) -> set[HookPlace]:
        """The hook points at which it steers."""
        return {place for program in self.programs.values() for place in program.places}

    def to_bytes(self) -> bytes:
        """The payload for `from_bytes`."""
        # torch writes a storage once, however many tensors are views of it; pickle would write it for each of them.
        stream = io.BytesIO()
        torch.save((self.segments, self.programs, self.salt), stream)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The payload that `to_bytes` wrote, in another process of the same engine."""
        return cls(*torch.load(io.BytesIO(data), weights_only=False))


def salt_of(spec: SteeringSpec, prompt_tokens: int, losses: int = 0) -> str:
    """The salt of a steered request's KV blocks in vLLM's prefix cache: the fingerprint of the steering.

    Where the steering counts from the end of the prompt, equal beginnings of texts are steered alike only if their
    prompts are of one length: the length is a part of the salt then. A request that was lost leaves blocks without
    sense: later ones of its steering have another salt.
    """
    counts = any(part.positions.of == "answer" or part.positions.last is not None for part in spec.parts)
    ends = any(part.positions.of == "prompt" for part in spec.parts)
    parts = [spec.fingerprint]
    if counts or ends:
        parts.append(f"prompt {prompt_tokens}")
    if losses:
        parts.append(f"loss {losses}")
    return ":".join(parts)


def _check(spec: SteeringSpec) -> None:
    if any(part.when for part in spec.parts):
        raise EngineUnsupported("a steering under a condition (`when`)", "steering")
    if spec.has_regions:
        raise EngineUnsupported("a steering that leaves out tool calls or reasoning (`tools`, `thinking`)", "steering")


def _checked(program: Program) -> Program:
    for columns in program.columns.values():
        if any(column.encoder and column.encoder.index is not None for column in columns):
            what = "clamp and scale with an SAE whose features compete (TopK and its kin)"
            raise EngineUnsupported(what, "steering")
    return program

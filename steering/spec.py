"""The immutable snapshot of what steers one request."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SAEPlace:
    """Where the files of an SAE lie: a hub id with its revision ("" is main) or a folder, and the path in it."""

    source: str
    revision: str = ""
    path: str = ""


NOWHERE = SAEPlace("")
"""The place in a spec for an engine that gets its directions from somebody else."""


@dataclass(frozen=True)
class SteeringSpec:
    """The strengths of SAE features at one hook point, as they are sent in the task message.

    `strengths` are (feature index, strength) pairs in order of index, without zeros: two equal steerings are equal
    specs and have equal fingerprints. A worker reads the SAE at `place`. An unsteered request has no spec (`None`).
    """

    sae_id: str
    sae_fingerprint: str
    layer: int
    hook_name: str
    strengths: tuple[tuple[int, float], ...]
    place: SAEPlace

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
        """The spec of these strengths, or None where they steer nothing."""
        pairs = tuple(sorted((index, float(strength)) for index, strength in strengths.items() if strength))
        return cls(sae_id, sae_fingerprint, layer, hook_name, pairs, place) if pairs else None

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this steering: equal for equal steerings, whoever built them.

        The fingerprint of the SAE stands for its weights, wherever they lie; while it is unknown, the place does.
        """
        named = asdict(self)
        if self.sae_fingerprint:
            del named["place"]
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]

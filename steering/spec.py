"""The immutable snapshot of what steers one request."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SteeringSpec:
    """The strengths of SAE features at one hook point, as they are sent in the task message.

    `strengths` are (feature index, strength) pairs in order of index, without zeros: two equal
    steerings are equal specs and have equal fingerprints. An unsteered request has no spec (`None`).
    """

    sae_id: str
    sae_fingerprint: str
    layer: int
    hook_name: str
    strengths: tuple[tuple[int, float], ...]

    @classmethod
    def build(
        cls, sae_id: str, sae_fingerprint: str, layer: int, hook_name: str, strengths: Mapping[int, float]
    ) -> "SteeringSpec | None":
        """The spec of these strengths, or None where every strength is 0."""
        pairs = tuple(sorted((index, float(strength)) for index, strength in strengths.items() if strength))
        return cls(sae_id, sae_fingerprint, layer, hook_name, pairs) if pairs else None

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "SteeringSpec":
        """The inverse of `to_message`."""
        pairs = tuple((int(index), float(strength)) for index, strength in message["strengths"])
        return cls(message["sae_id"], message["sae_fingerprint"], message["layer"], message["hook_name"], pairs)

    def to_message(self) -> dict[str, Any]:
        """The spec as JSON values for the task message."""
        return {
            "sae_id": self.sae_id,
            "sae_fingerprint": self.sae_fingerprint,
            "layer": self.layer,
            "hook_name": self.hook_name,
            "strengths": [list(pair) for pair in self.strengths],
        }

    @property
    def fingerprint(self) -> str:
        """16 hex digits; equal for equal steerings in every process."""
        return hashlib.sha256(json.dumps(self.to_message(), sort_keys=True).encode()).hexdigest()[:16]

"""What every SAE format comes down to: where its decoder lies, where it was trained, what its encoder computes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.errors import Refused

ARCHITECTURES = ("standard", "jumprelu", "topk", "batchtopk", "gated", "groupmax")
HOOK_POINTS = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")
UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")  # no character that a row or an answer could have
HOOK_NAME = re.compile(r"blocks\.(?P<layer>\d{1,4})\.(?P<point>\w+)", re.ASCII)
LARGEST_CONFIG = 2**20  # bytes; real ones have a few thousand
LARGEST_D_IN, LARGEST_D_SAE = 2**17, 2**24


class UnreadableSAE(Refused):
    """An SAE's files are not in a format we read, or not as their format says."""

    code = "sae_unavailable"
    status = 409


class BrokenDecoder(UnreadableSAE):
    """The weights of an SAE cannot be read, or not as its configuration says."""


@dataclass(frozen=True)
class SAEConfig:
    """What the files of an SAE say, whatever their format.

    The decoder is the tensor `decoder` of the file `weights`, (d_sae, d_in), or (d_in, d_sae) where `transposed`.
    What follows `transposed` is about the encoder only: see `inference.engine.sae_encoders`.
    """

    format: str
    architecture: str
    d_in: int
    d_sae: int
    layer: int
    hook_name: str
    model_name: str
    weights: Path
    decoder: str = "W_dec"
    transposed: bool = False
    k: int | None = None
    apply_b_dec_to_input: bool = True
    normalize_activations: str = "none"
    rescale_by_decoder_norm: bool = False
    bias_scale: float = 1.0
    threshold: float | None = None

    @property
    def hook_point(self) -> str:
        """`hook_resid_post` of `blocks.3.hook_resid_post`."""
        return self.hook_name.rpartition(".")[2]


def parse_hook_name(hook_name: str) -> int:
    """The zero-based layer of a hook name such as `blocks.2.hook_resid_post`. Raises UnreadableSAE."""
    match = HOOK_NAME.fullmatch(hook_name)
    if match is None or match["point"] not in HOOK_POINTS:
        expected = ", ".join(HOOK_POINTS)
        raise UnreadableSAE(
            f"hook point {hook_name[:100]!r} is not supported: expected blocks.<layer>.<one of {expected}>"
        )
    return int(match["layer"])


def check_architecture(architecture: str) -> str:
    """`architecture` where it is one of ours. Raises UnreadableSAE."""
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UnreadableSAE(f"architecture {architecture[:100]!r} is not supported: expected one of {known}")
    return architecture


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a size that a configuration has. Raises UnreadableSAE."""
    try:
        if not path.is_file():
            raise UnreadableSAE(f"{path} is missing")
        if (size := path.stat().st_size) > LARGEST_CONFIG:
            raise UnreadableSAE(f"{path} has {size} bytes: expected a configuration of at most {LARGEST_CONFIG}")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UnreadableSAE(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableSAE(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableSAE(f"{path} holds {type(value).__name__}: expected an object")
    return value


@dataclass(frozen=True)
class Values:
    """The values of a configuration file, each checked as it is taken. Every method raises UnreadableSAE."""

    values: Mapping[str, Any]
    source: str

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is None:
            return default
        found: str = self._expect(key, value, str, "a string")
        if UNSTORABLE.search(found):
            raise UnreadableSAE(f"{self.source}: {key} is {found!r:.100}: expected text")
        return found

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        return default if value is None else bool(self._expect(key, value, bool, "true or false"))

    def number(self, key: str) -> float:
        value = self._expect(key, self._required(key), (int, float), "a number")
        if isinstance(value, bool) or not abs(value) < 1e30:
            raise UnreadableSAE(f"{self.source}: {key} is {str(value)[:40]}: expected a finite number")
        return float(value)

    def count(self, key: str, most: int) -> int:
        """A whole number from 1 to `most`."""
        value = self._expect(key, self._required(key), int, "a whole number")
        if isinstance(value, bool) or not 1 <= value <= most:
            raise UnreadableSAE(f"{self.source}: {key} is {str(value)[:40]}: expected 1 to {most}")
        return int(value)

    def layer(self, key: str) -> int:
        """A zero-based layer."""
        value = self._expect(key, self._required(key), int, "a whole number")
        if isinstance(value, bool) or not 0 <= value < 10_000:
            raise UnreadableSAE(f"{self.source}: {key} is {str(value)[:40]}: expected a layer, 0 to 9999")
        return int(value)

    def section(self, key: str) -> "Values":
        """The object under `key`, an empty one where there is none."""
        value = self.values.get(key)
        return Values({} if value is None else self._expect(key, value, dict, "an object"), f"{self.source}: {key}")

    def _required(self, key: str) -> Any:
        if key not in self:
            raise UnreadableSAE(f"{self.source} lacks {key!r}")
        return self.values[key]

    def _expect(self, key: str, value: Any, types: Any, expected: str) -> Any:
        if not isinstance(value, types):
            raise UnreadableSAE(f"{self.source}: {key} is {type(value).__name__}: expected {expected}")
        return value

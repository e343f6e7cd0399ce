"""The configuration that every format is read into: the place of the decoder, the hook point, the encoder's options."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.architectures import UnsupportedHookPoint, parse_hook_name
from steering.errors import Refused
from steering.json_files import UnreadableJSON, read_json
from steering.validation import name_of

SAE_ARCHITECTURES = ("standard", "jumprelu", "topk", "batchtopk", "gated", "groupmax")
VECTORS = "vectors"
"""The architecture of a vector set, which has directions and no encoder."""
UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")  # no character that a row or an answer could have
LARGEST_CONFIG = 2**20  # bytes; real ones have a few thousand
LARGEST_D_IN, LARGEST_D_SAE = 2**17, 2**24


class UnreadableSAE(Refused):
    """The files of an SAE are of no known format, or break the rules of their format."""

    code = "sae_unavailable"
    status = 409


class BrokenDecoder(UnreadableSAE):
    """The weights of an SAE cannot be read, or do not fit its configuration."""


@dataclass(frozen=True)
class SAEConfig:
    """The configuration of an SAE of any format.

    The decoder is the tensor `decoder` of the file `weights`, (d_sae, d_in), or (d_in, d_sae) where `transposed`.
    The fields from `k` to `threshold` are for the encoder only: see `inference.engine.saes.encoders`. `spanned` is for
    a vector set of several layers: `hook_name` and `layer` are those of the first of them. `labels` are those that a
    vector set's files give: one of each vector, or none at all; "" is no label.
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
    spanned: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that it spans, in order: those of `spanned`, else `layer` alone."""
        return self.spanned or (self.layer,)

    @property
    def hook_point(self) -> str:
        """`hook_resid_post` of `blocks.3.hook_resid_post`."""
        return self.hook_name.rpartition(".")[2]


def hook_layer(hook_name: str) -> int:
    """The zero-based layer of a hook name such as `blocks.2.hook_resid_post`. Raises UnreadableSAE."""
    try:
        return parse_hook_name(hook_name)[0]
    except UnsupportedHookPoint as error:
        raise UnreadableSAE(str(error)) from error


def check_sae_architecture(architecture: str) -> str:
    """`architecture` where this version reads SAEs of it. Raises UnreadableSAE."""
    if architecture not in SAE_ARCHITECTURES:
        known = ", ".join(SAE_ARCHITECTURES)
        raise UnreadableSAE(f"architecture {architecture[:100]!r} is not supported: expected one of {known}")
    return architecture


def read_config_file(path: Path) -> dict[str, Any]:
    """The object in an SAE's configuration file. Raises UnreadableSAE."""
    try:
        return read_json(path, LARGEST_CONFIG)
    except UnreadableJSON as error:
        raise UnreadableSAE(str(error)) from error


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
            raise UnreadableSAE(f"{self.source}: {key} is {name_of(value)}: expected {expected}")
        return value

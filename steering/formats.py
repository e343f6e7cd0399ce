"""The configuration of an SAE on disk, read without its weights.

SAELens: a folder with `cfg.json` and `sae_weights.safetensors` (https://jbloomaus.github.io/SAELens/).
Older files keep hook name and layer at the top level of `cfg.json`, newer ones under `metadata`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS_FILE = "sae_weights.safetensors"
HOOK_NAME = re.compile(r"^blocks\.(?P<layer>\d+)\.(?P<hook_point>hook_resid_post)$")


class UnreadableSAE(ValueError):
    """An SAE folder that is not in a format we read."""


@dataclass(frozen=True)
class SAEConfig:
    """What an SAE's configuration says; `weights` is the file with the decoder `W_dec`, (d_sae, d_in)."""

    architecture: str
    d_in: int
    d_sae: int
    layer: int
    hook_name: str
    model_name: str
    weights: Path


def parse_hook_name(hook_name: str) -> int:
    """The zero-based layer of a hook name such as `blocks.2.hook_resid_post`."""
    match = HOOK_NAME.match(hook_name)
    if match is None:
        raise UnreadableSAE(f"hook {hook_name!r} is not supported: expected blocks.<layer>.hook_resid_post")
    return int(match["layer"])


def read_config(folder: Path) -> SAEConfig:
    """Read a SAELens folder's `cfg.json`. Raises UnreadableSAE naming what is missing or wrong."""
    path = folder / "cfg.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise UnreadableSAE(f"{folder} has no cfg.json: expected a SAELens folder") from None
    except ValueError as error:
        raise UnreadableSAE(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise UnreadableSAE(f"{path} holds {type(config).__name__}: expected an object")
    return _from_saelens(config, folder / WEIGHTS_FILE)


def _from_saelens(config: Mapping[str, Any], weights: Path) -> SAEConfig:
    metadata = config.get("metadata") or {}
    merged = {**metadata, **{key: value for key, value in config.items() if value is not None}}
    if not weights.is_file():
        raise UnreadableSAE(f"{weights} is missing")
    try:
        hook_name = str(merged["hook_name"])
        return SAEConfig(
            architecture=str(merged.get("architecture", "standard")),
            d_in=int(merged["d_in"]),
            d_sae=int(merged["d_sae"]),
            layer=parse_hook_name(hook_name),
            hook_name=hook_name,
            model_name=str(merged.get("model_name", "")),
            weights=weights,
        )
    except KeyError as error:
        raise UnreadableSAE(f"cfg.json beside {weights} lacks {error.args[0]!r}") from error

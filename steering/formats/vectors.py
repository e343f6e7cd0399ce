"""Vector sets: `vectors.safetensors` or `vectors.npz` with one tensor `vectors`, (n, d_model), all at one hook point.

`cfg.json` beside it says the hook point; without one, the metadata of a safetensors file do, as strings:

- `hook_name`, such as `blocks.12.hook_resid_post`; or `layer`, of which the output is meant,
- optional: `model_name`, and `labels`, a list of n strings (in the metadata as JSON), of which "" is no label.

Other keys, such as `made`, are for people.
"""

import json
from pathlib import Path
from typing import Any

from steering.architectures import RESID_POST
from steering.formats.config import (
    LARGEST_D_IN,
    LARGEST_D_SAE,
    UNSTORABLE,
    VECTORS,
    SAEConfig,
    UnreadableSAE,
    Values,
    hook_layer,
    read_config_file,
)
from steering.formats.tensors import safetensors_metadata, stored_tensors
from steering.validation import name_of

FORMAT, TENSOR, CONFIG_FILE = "vectors", "vectors", "cfg.json"
WEIGHTS_FILES = ("vectors.safetensors", "vectors.npz")
IN_JSON = ("labels", "layer")
"""Keys that are JSON in the metadata of a safetensors file, which has strings only."""


def read(folder: Path, _place: str) -> SAEConfig:
    """The configuration of a vector set. Raises UnreadableSAE."""
    weights = next(folder / name for name in WEIGHTS_FILES if (folder / name).is_file())
    values = _values(folder, weights)
    if values.text("format", FORMAT) != FORMAT:
        raise UnreadableSAE(f"{values.source}: format is {values.text('format')[:40]!r}: expected {FORMAT!r}")
    layer, hook_name = _hook(values)
    stored = stored_tensors(weights).get(TENSOR)
    shape = () if stored is None else stored.shape
    if len(shape) != 2 or not (1 <= shape[0] <= LARGEST_D_SAE and 1 <= shape[1] <= LARGEST_D_IN):
        found = "no tensor of floats" if stored is None else " x ".join(map(str, shape)) or "a single value"
        raise UnreadableSAE(f"{weights}: {TENSOR!r} is {found}: expected <vectors> x <d_model>")
    return SAEConfig(
        format=FORMAT,
        architecture=VECTORS,
        d_in=shape[1],
        d_sae=shape[0],
        layer=layer,
        hook_name=hook_name,
        model_name=values.text("model_name"),
        weights=weights,
        decoder=TENSOR,
        labels=_labels(values, shape[0]),
    )


def _values(folder: Path, weights: Path) -> Values:
    if (folder / CONFIG_FILE).is_file():
        return Values(read_config_file(folder / CONFIG_FILE), str(folder / CONFIG_FILE))
    if weights.suffix != ".safetensors":
        raise UnreadableSAE(f"{folder} has {weights.name}, and {CONFIG_FILE} is missing in the same folder")
    metadata: dict[str, Any] = safetensors_metadata(weights)
    metadata.pop("format", None)  # which library wrote the file
    try:
        metadata |= {key: json.loads(metadata[key]) for key in IN_JSON if key in metadata}
    except (ValueError, RecursionError) as error:
        raise UnreadableSAE(f"{weights}: {' or '.join(IN_JSON)} in the metadata is not JSON: {error}") from error
    return Values(metadata, f"the metadata of {weights}")


def _hook(values: Values) -> tuple[int, str]:
    if "hook_name" not in values and "layer" not in values:
        raise UnreadableSAE(f"{values.source} lacks 'hook_name': expected blocks.<layer>.{RESID_POST} or the like")
    hook_name = values.text("hook_name") or f"blocks.{values.layer('layer')}.{RESID_POST}"
    layer = hook_layer(hook_name)
    if "layer" in values and values.layer("layer") != layer:
        said = f"layer is {values.layer('layer')}, and the hook is {hook_name}"
        raise UnreadableSAE(f"{values.source}: {said}: expected one layer")
    return layer, hook_name


def _labels(values: Values, count: int) -> tuple[str, ...]:
    labels = values.values.get("labels")
    if labels is None:
        return ()
    if not isinstance(labels, list) or len(labels) != count:
        got = f"{len(labels)} labels" if isinstance(labels, list) else name_of(labels)
        raise UnreadableSAE(f"{values.source}: labels are {got}: expected a list of {count} strings")
    for index, label in enumerate(labels):
        if not isinstance(label, str) or UNSTORABLE.search(label):
            raise UnreadableSAE(f"{values.source}: label {index} is {label!r:.100}: expected text")
    return tuple(labels)

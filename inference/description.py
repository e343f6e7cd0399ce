"""What a model's `config.json` says of it, read by the web before anything is downloaded. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steering.architectures import architecture
from steering.sources import BadSource, is_folder, local_folder, read_json_file

# The same number under the names of different architectures.
NAMES = {
    "d_model": ("hidden_size", "n_embd"),
    "num_layers": ("num_hidden_layers", "n_layer"),
    "context_length": ("max_position_embeddings", "n_positions"),
}


@dataclass(frozen=True)
class Description:
    """The architecture (`model_type`), the width of the residual stream, the decoder blocks, the positions."""

    model_type: str
    d_model: int
    num_layers: int
    context_length: int


def describe(source: str, revision: str, *, anywhere: bool = False) -> Description:
    """The description of the model at `source`, a hub id or a folder.

    Raises BadSource, UnsupportedArchitecture, or what `steering.hub` raises.
    """
    if is_folder(source):
        folder = local_folder(source, anywhere=anywhere)
        config = read_json_file(folder / "config.json")
        if not any(folder.glob("*.safetensors")):
            raise BadSource(f"source: {source} has no *.safetensors: other files of weights are not read")
    else:
        from steering import hub

        config = hub.read_json(source, "config.json", revision or "main")
    model_type = str(config.get("model_type", ""))
    architecture(model_type)
    return Description(model_type, **{field: _number(config, names) for field, names in NAMES.items()})


def _number(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = next((config[name] for name in names if config.get(name) is not None), None)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise BadSource(f"source: config.json has {names[0]} {value!r:.100}, expected a whole number above 0")
    return value

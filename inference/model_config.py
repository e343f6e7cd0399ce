"""The description of a model by its `config.json`, which the web reads before a download. Free of torch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.model_files import remote_files
from inference.tokenizer_files import check_tokenizer
from inference.weights import check_weights
from steering.architectures import architecture
from steering.errors import Refused
from steering.hub.sources import BadSource, is_folder, local_folder
from steering.json_files import UnreadableJSON, read_json

# The same number under the names of different architectures.
NAMES = {
    "d_model": ("hidden_size", "n_embd"),
    "num_layers": ("num_hidden_layers", "n_layer"),
    "context_length": ("max_position_embeddings", "n_positions"),
}


# As vLLM and transformers do, the numbers of `generation_config.json` are taken where a request names none.
SAMPLING = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "top_k": (0, 2**31 - 1),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 10.0),
}
GENERATION = "generation_config.json"


class ModelChanged(Refused):
    """The files of another model in place of those registered."""

    code = "model_changed"
    status = 409


@dataclass(frozen=True)
class Description:
    """The architecture (`model_type`), the width of the residual stream, the number of blocks and of positions."""

    model_type: str
    d_model: int
    num_layers: int
    context_length: int


def describe(source: str, revision: str, *, anywhere: bool = False) -> Description:
    """The description of the model at `source`, a hub id or a folder.

    Raises BadSource, UnsupportedArchitecture, BrokenWeights, BrokenTokenizer, or what `steering.hub.client` raises.
    """
    if is_folder(source):
        return describe_folder(local_folder(source, anywhere=anywhere))
    from steering.hub import client
    from steering.hub.errors import HubUnreachable

    described = _described(client.read_json(source, "config.json", revision or "main"))
    with suppress(HubUnreachable):  # another program may have left it in the cache without a listing
        remote_files(source, revision or "main")
    return described


def sampling_defaults(source: str, revision: str) -> dict[str, float]:
    """The sampling of requests that name none: the fields of SAMPLING in the model's `generation_config.json`.

    Empty where the model has no such file. Raises BadSource, or what `steering.hub.client` raises.
    """
    if is_folder(source):
        path = Path(source).expanduser() / GENERATION
        try:
            return _sampling(read_json(path)) if path.exists() else {}
        except UnreadableJSON as error:
            raise BadSource(f"source: {error}") from error
    from steering.hub import client
    from steering.hub.errors import NoSuchFile

    try:
        return _sampling(client.read_json(source, GENERATION, revision or "main"))
    except NoSuchFile:
        return {}


def _sampling(config: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, (least, most) in SAMPLING.items():
        value = config.get(name)
        if value is None:
            continue
        is_number = isinstance(value, int if name == "top_k" else (int, float)) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            raise BadSource(f"source: {GENERATION} has {name} {value!r:.100}, expected a number from {least} to {most}")
        found[name] = value
    return found


def describe_folder(folder: Path) -> Description:
    """The description of the model in `folder`; its weights and its tokenizer must be whole. Raises as `describe`."""
    try:
        config = read_json(folder / "config.json")
    except UnreadableJSON as error:
        raise BadSource(f"source: {error}") from error
    described = _described(config)
    check_weights(folder, config.get("vocab_size"), described.d_model)
    check_tokenizer(folder)
    return described


def check_files(folder: Path, known: Description) -> None:
    """Refuse files that no worker could load, or that are of another model than `known`.

    Raises ModelChanged, or what `describe` raises.
    """
    found = describe_folder(folder)
    if found != known:
        raise ModelChanged(f"{folder} holds {found}, registered was {known}: register it under another name")


def _described(config: Mapping[str, Any]) -> Description:
    model_type = str(config.get("model_type", ""))
    architecture(model_type)
    return Description(model_type, **{field: _number(config, names) for field, names in NAMES.items()})


def _number(config: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = next((config[name] for name in names if config.get(name) is not None), None)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise BadSource(f"source: config.json has {names[0]} {value!r:.100}, expected a whole number above 0")
    return value

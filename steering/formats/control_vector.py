"""Control vectors in GGUF (`*.gguf`): one vector with a direction at each of some layers. Reader and export.

repeng (https://github.com/vgel/repeng, `ControlVector.export_gguf` in repeng/extract.py), llama.cpp's
`cvector-generator` and EasySteer (https://github.com/ZJU-REAL/EasySteer, easysteer/steer/utils.py, which adds
`controlvector.method`) write them: `general.architecture` is `controlvector`, `controlvector.model_hint` the model's
type, `controlvector.layer_count` a number; a tensor `direction.<layer>`, (d_model,), of each layer.

`<layer>` is the zero-based transformer block behind which the direction is added: `blocks.<layer>.hook_resid_post`.
llama.cpp adds it at the end of block `il`, as `build_cvec(cur, il)` between the block's last addition and `l_out`
(src/models/llama.cpp, src/llama-adapter.cpp); it refuses `direction.0` (common/common.cpp,
`common_control_vector_load_one`). repeng reads `hidden_states[layer + 1]`, of which number 0 is the embedding, so that
of number `layer + 1` is the output of block `layer` (`batched_get_hiddens`), and by default it leaves block 0 out.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from steering.architectures import MLP_OUT, RESID_POST, RESID_PRE, parse_hook_name
from steering.errors import Refused
from steering.formats.config import LARGEST_D_IN, VECTORS, BrokenDecoder, SAEConfig, UnreadableSAE, Values
from steering.formats.gguf import (
    ALIGNMENT,
    ARCHITECTURE,
    GGUFFile,
    architecture_of,
    packed_file,
    packed_keys,
    read_gguf,
)
from steering.formats.tensors import Float32, StoredTensor

FORMAT, SUFFIX = "control_vector", ".gguf"
KIND = "controlvector"
DIRECTION = re.compile(r"direction\.(?P<layer>0|[1-9]\d{0,3})", re.ASCII)
MOST_FILES = 1000


class NoControlVector(Refused):
    """A direction that no control vector can have: its hook point is not on the residual stream behind a block."""

    code = "no_control_vector"
    status = 409


def read(folder: Path, _place: str) -> SAEConfig:
    """The configuration of the control vector in `folder`, or of the file that `folder` is. Raises UnreadableSAE.

    Other GGUF files, such as a model, may lie beside it; a second control vector may not.
    """
    if folder.is_file():
        return _read(folder)
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if len(files) > MOST_FILES:
        raise UnreadableSAE(f"{folder} has {len(files)} GGUF files: name one of them in the path")
    found = files if len(files) == 1 else [file for file in files if architecture_of(file) == KIND]
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:20]) or "none"
        raise UnreadableSAE(f"{folder} has {len(found)} control vectors ({names}): name one of them in the path")
    return _read(found[0])


def _read(path: Path) -> SAEConfig:
    file = _checked(path)
    layers = sorted(_layer(name) for name in file.tensors)
    widths = {tensor.shape[1] for tensor in file.tensors.values()}
    if len(widths) != 1 or not 1 <= min(widths) <= LARGEST_D_IN:
        said = ", ".join(map(str, sorted(widths)[:5]))
        raise UnreadableSAE(f"{path} has directions of {said} values: expected one width, 1 to {LARGEST_D_IN}")
    return SAEConfig(
        format=FORMAT,
        architecture=VECTORS,
        d_in=widths.pop(),
        d_sae=1,
        layer=layers[0],
        hook_name=f"blocks.{layers[0]}.{RESID_POST}",
        model_name=Values(file.keys, str(path)).text(f"{KIND}.model_hint"),
        weights=path,
        decoder=tensor_name(layers[0]),
        spanned=tuple(layers),
    )


def _checked(path: Path) -> GGUFFile:
    """The header of a control vector."""
    file = read_gguf(path, KIND)
    for name in file.tensors:
        _layer(name, str(path))
    if not file.tensors:
        raise UnreadableSAE(f"{path} has no direction: expected tensors named direction.<layer>")
    return file


def _layer(name: str, source: str = "") -> int:
    match = DIRECTION.fullmatch(name)
    if match is None:
        raise UnreadableSAE(f"{source} has the tensor {name[:100]!r}: expected direction.<layer>, 0 to 9999")
    return int(match["layer"])


def tensor_name(layer: int) -> str:
    """The tensor that has the direction at `layer`."""
    return f"direction.{layer}"


def stored_directions(path: Path) -> Mapping[str, StoredTensor]:
    """The directions of a control vector by the names of their tensors, each (1, d_model). Raises UnreadableSAE.

    The header is read once for all layers.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UnreadableSAE(f"{path} cannot be read: {error}") from error
    return _remembered(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=32)
def _remembered(path: Path, _stamp: tuple[int, ...]) -> Mapping[str, StoredTensor]:
    """The directions; the stamp changes with the file."""
    return _checked(path).tensors


def control_vector(config: SAEConfig, rows: Mapping[int, Float32], model_hint: str) -> bytes:
    """A GGUF file of `rows`, {layer of `config`: direction, (d_model,)}, as float32: llama.cpp reads no other type.

    Of a control vector the metadata and the order of the layers are those of its file. Raises NoControlVector,
    BrokenDecoder.
    """
    for layer, row in rows.items():
        if not np.isfinite(row).all():
            raise BrokenDecoder(f"{config.weights}: the direction at layer {layer} is not finite")
    if config.format == FORMAT:
        file = _checked(config.weights)
        wanted = [(name, rows[_layer(name)]) for name in file.tensors if _layer(name) in rows]
        return packed_file(file.metadata, file.count, wanted, file.alignment)
    block = block_of(config.hook_name)
    keys: list[tuple[str, str | int]] = [(ARCHITECTURE, KIND), (f"{KIND}.model_hint", model_hint)]
    keys.append((f"{KIND}.layer_count", len(rows)))
    behind = [(tensor_name(block + layer - config.layer), row) for layer, row in sorted(rows.items())]
    return packed_file(packed_keys(keys), len(keys), behind, ALIGNMENT)


def block_of(hook_name: str) -> int:
    """The block behind which a direction for this hook point is added.

    A direction before block l is one behind block l - 1. One at the output of an MLP is one behind its block, since the
    block adds that output to the residual stream; Granite multiplies it first. Raises NoControlVector.
    """
    layer, hook_point = parse_hook_name(hook_name)
    block = layer - 1 if hook_point == RESID_PRE else layer
    if hook_point not in (RESID_PRE, RESID_POST, MLP_OUT) or block < 0:
        expected = f"expected {RESID_POST}, {MLP_OUT}, or {RESID_PRE} of a later block than the first"
        raise NoControlVector(f"a control vector is added behind a block, not at {hook_name}: {expected}")
    return block

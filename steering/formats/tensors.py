"""The tensors of a weights file, found by its directory alone, without torch.

safetensors (https://github.com/huggingface/safetensors#format): 8 bytes with the length of a JSON header, the header,
the values. Its own library reads bfloat16 through torch only and maps the file.
"""

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from steering.formats.archives import npz_tensors
from steering.formats.config import UnreadableSAE
from steering.formats.pickles import pickled_tensors
from steering.formats.stored_tensor import ITEM_SIZES, StoredTensor

LARGEST_HEADER = 2**22  # bytes; an SAE's has a few hundred


READERS = {".npz": npz_tensors, ".pt": pickled_tensors}


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of floats in a safetensors, npz or torch file by name. Raises UnreadableSAE."""
    try:
        if not path.is_file():
            raise UnreadableSAE(f"{path} is missing")
        return READERS.get(path.suffix, _safetensors)(path)
    except OSError as error:
        raise UnreadableSAE(f"{path} cannot be read: {error}") from error


def _safetensors(path: Path) -> dict[str, StoredTensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(LARGEST_HEADER, size - 8):
            raise UnreadableSAE(f"{path} is no safetensors file or is cut short: its header would have {length} bytes")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnreadableSAE(f"{path}: the safetensors header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise UnreadableSAE(f"{path}: the safetensors header is {type(header).__name__}: expected an object")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    stored = {name: _safetensors_entry(path, name, entry, 8 + length, size) for name, entry in entries.items()}
    return {name: tensor for name, tensor in stored.items() if tensor is not None}


def _safetensors_entry(path: Path, name: str, entry: Any, start: int, size: int) -> StoredTensor | None:
    """One tensor; None where its values are no floats, such as counters."""
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        known = str(dtype) in ITEM_SIZES
        whole = len(shape) <= 8 and all(type(number) is int and 0 <= number < 2**53 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError) as error:
        raise UnreadableSAE(f"{path}: the safetensors entry of {name[:100]!r} is malformed: {error!r}") from error
    if not known:
        return None
    if not whole or end - begin != prod(shape) * ITEM_SIZES[dtype]:
        said = f"shape {shape} and bytes {begin} to {end}"
        raise UnreadableSAE(f"{path}: {name[:100]!r} says {said[:200]}, which do not fit")
    if start + end > size:
        raise UnreadableSAE(f"{path} is cut short: {name[:100]!r} ends at byte {start + end}, the file at {size}")
    return StoredTensor(path, name, dtype, shape, start + begin)


def locate_decoder(
    tensors: Mapping[str, StoredTensor], names: tuple[str, ...], d_in: int, d_sae: int | None, source: Path
) -> tuple[str, bool, int]:
    """The decoder among `tensors`: its name, whether it is stored (d_in, d_sae), and d_sae. Raises UnreadableSAE."""
    name = next((name for name in names if name in tensors), None)
    if name is None:
        raise UnreadableSAE(f"{source} has no decoder: expected a tensor named {' or '.join(names)}")
    shape = tensors[name].shape
    transposed = is_transposed(name, shape, d_in)
    if len(shape) != 2 or transposed is None or (d_sae is not None and shape[1 if transposed else 0] != d_sae):
        expected = f"{d_sae or '<d_sae>'} x {d_in}"
        raise UnreadableSAE(f"{source}: {name} is {' x '.join(map(str, shape))}: expected {expected}, or transposed")
    return name, transposed, shape[1 if transposed else 0]


def is_transposed(name: str, shape: tuple[int, ...], d_in: int) -> bool | None:
    """Return True for a decoder stored as (d_in, d_sae), None where no axis is d_in.

    The name decides for a square one: `decoder.weight` is a `torch.nn.Linear`'s, (d_in, d_sae), `W_dec` is not.
    """
    if len(shape) != 2 or d_in not in shape:
        return None
    return name.endswith("decoder.weight") if shape[0] == shape[1] else shape[0] == d_in

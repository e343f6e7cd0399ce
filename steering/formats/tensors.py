"""Where the tensors of a weights file lie, and their values, without torch and without a memory map.

safetensors (https://github.com/huggingface/safetensors#format): 8 bytes with the length of a JSON header, the header,
the values. Its own library reads bfloat16 through torch only and maps the file, so that a file cut short under
it ends the process with SIGBUS; here a short read is an error. npz: a zip archive of `.npy` files
(https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), compressed or not.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from steering.formats.config import BrokenDecoder, UnreadableSAE
from steering.validation import name_of

Float32 = NDArray[np.float32]

ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
NPY_DTYPES = {"<f8": "F64", "<f4": "F32", "<f2": "F16"}
LARGEST_HEADER = 2**22  # bytes; an SAE's has a few hundred
MOST_MEMBERS = 1000  # of an archive; an SAE's has a dozen
MOST_EXPANSION = 50  # floats shrink by a tenth or so; what shrinks more is made to fill memory
SMALL = 2**20  # bytes that may expand from nothing: an SAE's zero biases


@dataclass(frozen=True)
class StoredTensor:
    """Values in C order from `offset` of the file, or of the compressed `member` of the archive that the file is."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    member: str = ""
    fortran: bool = False

    @property
    def item_size(self) -> int:
        return ITEM_SIZES[self.dtype]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes of the values, from the first. Raises BrokenDecoder for whatever goes wrong while it is open."""
        try:
            with self.path.open("rb", buffering=0) as file:
                if self.member:
                    with zipfile.ZipFile(file) as archive, archive.open(self.member) as member:
                        member.read(self.offset)
                        yield member
                else:
                    file.seek(self.offset)
                    yield file
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
            raise BrokenDecoder(f"{self.path}: {self.name} cannot be read: {error}") from error

    def take(self, file: IO[bytes], count: int) -> Float32:
        """The next `count` values."""
        raw = bytearray(count * self.item_size)
        view, done = memoryview(raw), 0
        while done < len(raw):
            piece = file.read(min(len(raw) - done, 2**24))
            if not piece:
                raise BrokenDecoder(f"{self.path} ends inside {self.name}: fetch the file again")
            view[done : done + len(piece)] = piece
            done += len(piece)
        return to_float32(raw, self.dtype)

    def read(self) -> Float32:
        """All of it. Raises BrokenDecoder."""
        with self.open() as file:
            values = self.take(file, prod(self.shape))
        return values.reshape(self.shape, order="F" if self.fortran else "C")


def to_float32(raw: bytes | bytearray, dtype: str) -> Float32:
    """Little-endian values of a safetensors dtype as float32."""
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is found where it matters
        return np.frombuffer(raw, f"<f{ITEM_SIZES[dtype]}").astype("<f4", copy=False)


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors or npz file by name, from its directory alone. Raises UnreadableSAE."""
    try:
        if not path.is_file():
            raise UnreadableSAE(f"{path} is missing")
        return _npz(path) if path.suffix == ".npz" else _safetensors(path)
    except OSError as error:
        raise UnreadableSAE(f"{path} cannot be read: {error}") from error


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file, strings by key. Raises UnreadableSAE."""
    try:
        metadata = _safetensors_header(path)[0].get("__metadata__", {})
    except OSError as error:
        raise UnreadableSAE(f"{path} cannot be read: {error}") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UnreadableSAE(f"{path}: the metadata of the safetensors header are not an object of strings")
    return metadata


def _safetensors(path: Path) -> dict[str, StoredTensor]:
    header, start = _safetensors_header(path)
    size = path.stat().st_size
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    stored = {name: _safetensors_entry(path, name, entry, start, size) for name, entry in entries.items()}
    return {name: tensor for name, tensor in stored.items() if tensor is not None}


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and the offset of the values."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size - 8):
            raise UnreadableSAE(f"{path} is no safetensors file or is cut short: its header would have {length} bytes")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnreadableSAE(f"{path}: the safetensors header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise UnreadableSAE(f"{path}: the safetensors header is {name_of(header)}: expected an object")
    return header, 8 + length


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


def _npz(path: Path) -> dict[str, StoredTensor]:
    with open_archive(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        stored = {info.filename.removesuffix(".npy"): _npy(path, archive, info) for info in members}
    return {name: tensor for name, tensor in stored.items() if tensor is not None}


def _npy(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> StoredTensor | None:
    """The array in one member; None where it is not of floats. A pickled one (dtype object) is not read."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # an LZMA stream says how much memory it is unpacked with
        raise UnreadableSAE(f"{path}: {info.filename[:100]!r} has another compression than numpy's: expected deflate")
    if info.file_size > max(SMALL, MOST_EXPANSION * info.compress_size):
        said = f"{info.compress_size} bytes that expand to {info.file_size}"
        raise UnreadableSAE(f"{path}: {info.filename[:100]!r} is {said}: expected weights, not a zip bomb")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename!r} has npy version {version}: expected 1.0 or 2.0")
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, numpy_dtype = reader(file)
        header = file.tell()
    dtype = NPY_DTYPES.get(numpy_dtype.str)
    if dtype is None:
        return None
    if info.file_size - header != prod(shape) * ITEM_SIZES[dtype]:
        raise ValueError(f"{info.filename!r} says shape {shape}, and has {info.file_size - header} bytes")
    name = info.filename.removesuffix(".npy")
    if info.compress_type != zipfile.ZIP_STORED:
        return StoredTensor(path, name, dtype, shape, header, info.filename, fortran)
    return StoredTensor(path, name, dtype, shape, _data_offset(path, info) + header, fortran=fortran)


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where an uncompressed member's bytes start: behind its local header, whose two lengths only it knows."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name_length, extra_length = struct.unpack("<26x2H", file.read(30))
    start = info.header_offset + 30 + int(name_length) + int(extra_length)
    if start + info.file_size > path.stat().st_size:
        raise ValueError(f"{info.filename!r} ends behind the end of the file")
    return start


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose directory has a bounded size. Raises UnreadableSAE for whatever goes wrong inside."""
    try:
        with path.open("rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                if len(archive.filelist) > MOST_MEMBERS:
                    raise UnreadableSAE(f"{path} has {len(archive.filelist)} members: expected at most {MOST_MEMBERS}")
                yield archive
    except UnreadableSAE:
        raise
    except Exception as error:  # from a hostile file zipfile and numpy raise a dozen kinds
        raise UnreadableSAE(f"{path} is no zip archive, is cut short or malformed: {error!r}") from error


def _check_directory(file: IO[bytes]) -> None:
    """Before `zipfile` reads all of it into objects: that the central directory is small.

    Its size is in the end record, the last 22 bytes and a comment, and in the zip64 one, 20 bytes before it.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 2**16 - 42))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    sizes = [struct.unpack_from("<I", tail, end + 12)[0]] if end >= 0 else []
    locator = end - 20
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        file.seek(struct.unpack_from("<Q", tail, locator + 8)[0])
        sizes = [struct.unpack_from("<Q", file.read(48), 40)[0]]
    if sizes and sizes[0] > LARGEST_HEADER:
        raise ValueError(f"its directory would have {sizes[0]} bytes: expected at most {LARGEST_HEADER}")
    file.seek(0)


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

"""The file format GGUF, as far as control vectors need it: a strict reader of the header, and a writer.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian: magic, version, the numbers
of tensors and of keys; each key with its type and value; of each tensor the name, dimensions, type and offset; zeros up
to the alignment; the tensors in the same order, each filled up to the alignment.

The library `gguf`, of which the tests take the writer and the reader, maps a file: one that is cut short under it ends
the process with SIGBUS. It makes objects of every element of an array. Here a short read is an error, and a header of
more than LARGEST_HEADER bytes is not read.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.formats.config import UnreadableSAE
from steering.formats.tensors import LARGEST_HEADER, Float32, StoredTensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, UINT32 = 8, 9, 4
F32 = 0
DTYPES = {F32: "F32", 1: "F16", 30: "BF16"}
"""The tensor types that are read; the others are of quantised weights."""
ITEM_SIZES = {"F32": 4, "F16": 2, "BF16": 2}
ALIGNMENT = 32
FIRST_READ = 2**14  # bytes: the header of a control vector of a hundred layers has some thousands
DEEPEST = 4  # arrays of arrays
MOST = 10_000  # keys, and tensors; a model of hundreds of layers has a few thousand
ARCHITECTURE = "general.architecture"


@dataclass(frozen=True)
class GGUFFile:
    """The header of a file. `keys` are its scalars and strings; of arrays the value is None.

    `metadata` are the bytes of all keys with their values, as they are in the file, and `count` is their number. Each
    tensor has one dimension, n, and is here of shape (1, n).
    """

    keys: dict[str, Any]
    metadata: bytes
    count: int
    alignment: int
    tensors: dict[str, StoredTensor]


def architecture_of(path: Path) -> str:
    """`general.architecture` of a file, "" where it has none. Raises UnreadableSAE."""
    header = _Header(path)
    _, count = header.begin()
    for _ in range(count):
        key, value = header.key()
        if key == ARCHITECTURE:
            return str(value)
    return ""


def read_gguf(path: Path, architecture: str) -> GGUFFile:
    """The header of the file at `path`, which must be of this architecture.

    Raises UnreadableSAE, also for tensors of more than one dimension.
    """
    header = _Header(path)
    tensors, count = header.begin()
    start = header.place
    keys: dict[str, Any] = {}
    for _ in range(count):
        key, value = header.key()
        if key in keys:
            raise UnreadableSAE(f"{path} has the key {key[:100]!r} twice")
        keys[key] = value
        if key == ARCHITECTURE and value != architecture:  # before anything that only this architecture has
            break
    if keys.get(ARCHITECTURE) != architecture:
        got = str(keys.get(ARCHITECTURE, ""))[:40]
        raise UnreadableSAE(f"{path}: {ARCHITECTURE} is {got!r}: expected {architecture!r}")
    metadata = header.data[start : header.place]
    alignment = keys.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= 2**16 or alignment & (alignment - 1):
        raise UnreadableSAE(f"{path}: general.alignment is {alignment!r:.40}: expected a power of two")
    infos = [header.tensor() for _ in range(tensors)]
    return GGUFFile(keys, metadata, count, alignment, _placed(path, infos, header.place, header.size, alignment))


def _placed(
    path: Path, infos: list[tuple[str, int, str, int]], end: int, size: int, alignment: int
) -> dict[str, StoredTensor]:
    """The tensors at their places in the file: one behind the other, as every writer puts them."""
    stored: dict[str, StoredTensor] = {}
    data, offset = _filled(end, alignment), 0
    for name, length, dtype, said in infos:
        if name in stored:
            raise UnreadableSAE(f"{path} has the tensor {name!r} twice")
        if said != offset:
            raise UnreadableSAE(f"{path}: {name!r} is at offset {said}: expected {offset}, behind the tensor before it")
        stop = data + offset + length * ITEM_SIZES[dtype]
        if stop > size:
            raise UnreadableSAE(f"{path} is cut short: {name!r} ends at byte {stop}, the file at {size}")
        stored[name] = StoredTensor(path, name, dtype, (1, length), data + offset)
        offset = _filled(offset + length * ITEM_SIZES[dtype], alignment)
    return stored


def _filled(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


class _Header:
    """The first bytes of a file, taken one value after the other. Every method raises UnreadableSAE."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.place, self.size = path, b"", 0, 0
        self._read_up_to(FIRST_READ)

    def _read_up_to(self, end: int) -> None:
        try:
            with self.path.open("rb") as file:
                self.size = self.path.stat().st_size
                self.data = file.read(min(end, LARGEST_HEADER))
        except OSError as error:
            raise UnreadableSAE(f"{self.path} cannot be read: {error}") from error

    def begin(self) -> tuple[int, int]:
        """The numbers of tensors and of keys, behind magic and version."""
        if self.data[:4] != MAGIC:
            raise UnreadableSAE(f"{self.path} is no GGUF file: it begins with {self.data[:4]!r}, expected {MAGIC!r}")
        self.place = 4
        if (version := self.number("I")) not in VERSIONS:
            raise UnreadableSAE(f"{self.path} is of GGUF version {version}: expected 2 or 3, little-endian")
        tensors, keys = self.number("Q"), self.number("Q")
        if max(tensors, keys) > MOST:
            raise UnreadableSAE(f"{self.path} says {tensors} tensors and {keys} keys: expected at most {MOST} of each")
        return tensors, keys

    def key(self) -> tuple[str, Any]:
        key = self.text()
        return key, self._value(self.number("I"), key)

    def tensor(self) -> tuple[str, int, str, int]:
        """Name, length, dtype and offset."""
        name, dimensions = self.text(), self.number("I")
        if dimensions != 1:
            raise UnreadableSAE(f"{self.path}: {name[:100]!r} has {dimensions} dimensions: expected 1")
        length, kind, offset = self.number("Q"), self.number("I"), self.number("Q")
        if kind not in DTYPES:
            known = ", ".join(DTYPES.values())
            raise UnreadableSAE(f"{self.path}: {name[:100]!r} is of the GGML type {kind}: expected one of {known}")
        return name, length, DTYPES[kind], offset

    def _value(self, kind: int, key: str, depth: int = 0) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY or depth == DEEPEST:
            raise UnreadableSAE(f"{self.path}: the value of {key[:100]!r} is of an unknown type, {kind}")
        of, count = self.number("I"), self.number("Q")
        if of in SCALARS:
            self.take(count * struct.calcsize(f"<{SCALARS[of]}"))
        else:
            for _ in range(count):
                self._value(of, key, depth + 1)
        return None

    def text(self) -> str:
        raw = self.take(self.number("Q"))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise UnreadableSAE(f"{self.path}: {raw[:100]!r} is no UTF-8") from error

    def number(self, form: str) -> Any:
        size = struct.calcsize(f"<{form}")
        return struct.unpack(f"<{form}", self.take(size))[0]

    def take(self, count: int) -> bytes:
        end = self.place + count
        if len(self.data) < end <= LARGEST_HEADER and len(self.data) < self.size:
            self._read_up_to(max(end, 4 * len(self.data)))
        if end > len(self.data):
            least = "cut short" if self.size <= LARGEST_HEADER else f"of a header beyond {LARGEST_HEADER} bytes"
            raise UnreadableSAE(f"{self.path} is {least}, or no GGUF file: it says that a value ends at byte {end}")
        taken = self.data[self.place : end]
        self.place = end
        return taken


def packed_keys(keys: Iterable[tuple[str, str | int]]) -> bytes:
    """Keys with their values, strings or 32-bit unsigned integers, as they are in a file."""
    return b"".join(
        _text(key) + (struct.pack("<I", STRING) + _text(value) if isinstance(value, str) else _uint32(value))
        for key, value in keys
    )


def packed_file(metadata: bytes, count: int, tensors: Sequence[tuple[str, Float32]], alignment: int) -> bytes:
    """A file of version 3: `count` keys, as bytes, and `tensors`, (name, (n,) float32), in this order."""
    infos, data, offset = [], [], 0
    for name, values in tensors:
        infos.append(_text(name) + struct.pack("<IQIQ", 1, len(values), F32, offset))
        data.append(values.astype("<f4", copy=False).tobytes())
        offset = _filled(offset + len(data[-1]), alignment)
    header = MAGIC + struct.pack("<IQQ", VERSIONS[-1], len(tensors), count) + metadata + b"".join(infos)
    return b"".join(part.ljust(_filled(len(part), alignment), b"\0") for part in (header, *data))


def _uint32(value: int) -> bytes:
    return struct.pack("<II", UINT32, value)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw

"""The place of a tensor in a file, and the reader of its values, without torch and without a memory map.

A memory map of a file that is cut short under it ends the process with SIGBUS; here a short read is an error.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from steering.formats.config import BrokenDecoder

Float32 = NDArray[np.float32]

ITEM_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a value by its dtype, which has safetensors' name."""


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
        """The bytes of the values, from the first. Raises BrokenDecoder for every error while the file is open."""
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
        """All values, in the tensor's shape. Raises BrokenDecoder."""
        with self.open() as file:
            values = self.take(file, prod(self.shape))
        return values.reshape(self.shape, order="F" if self.fortran else "C")


def to_float32(raw: bytes | bytearray, dtype: str) -> Float32:
    """Little-endian values of a safetensors dtype as float32."""
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which callers refuse
        return np.frombuffer(raw, f"<f{ITEM_SIZES[dtype]}").astype("<f4", copy=False)

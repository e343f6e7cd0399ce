"""Zip archives of a bounded directory, and the arrays of an npz file.

npz: a zip archive of `.npy` files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), compressed
or not.
"""

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from steering.formats.config import UnreadableSAE
from steering.formats.stored_tensor import ITEM_SIZES, StoredTensor

NPY_DTYPES = {"<f8": "F64", "<f4": "F32", "<f2": "F16"}
LARGEST_DIRECTORY = 2**22  # bytes; an SAE's archive has a dozen members
MOST_MEMBERS = 1000
MOST_EXPANSION = 50  # floats shrink by a tenth or so; what shrinks more is made to fill memory
SMALL = 2**20  # bytes that may expand from nothing: an SAE's zero biases


def npz_tensors(path: Path) -> dict[str, StoredTensor]:
    with open_archive(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        stored = {info.filename.removesuffix(".npy"): _npy(path, archive, info) for info in members}
    return {name: tensor for name, tensor in stored.items() if tensor is not None}


def _npy(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> StoredTensor | None:
    """The array in one member; None where it is not of floats. A pickled one (dtype object) is not read."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # an LZMA stream names the amount of memory to unpack it with
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
    return StoredTensor(path, name, dtype, shape, data_offset(path, info) + header, fortran=fortran)


def data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """The offset of an uncompressed member's bytes: behind its local header, which alone has the two lengths."""
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
    if sizes and sizes[0] > LARGEST_DIRECTORY:
        raise ValueError(f"its directory would have {sizes[0]} bytes: expected at most {LARGEST_DIRECTORY}")
    file.seek(0)

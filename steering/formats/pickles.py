"""The tensors in a file of `torch.save`, without torch, and without running the program that a pickle is.

The file is a zip archive (https://docs.pytorch.org/docs/stable/notes/serialization.html): `data.pkl` names the
tensors, `data/<key>` has the values of one storage, `byteorder` their order. `pickletools` reads the operations of
`data.pkl`, of which only those that build tuples, lists and dicts are followed. No call is made: that of a tensor's
constructor becomes the tensor's place in the file, every other one becomes None.

A few operations can nest one tuple in the next a hundred times over: to hash or to print it would take for ever. So
only texts and numbers are hashed or printed.
"""

import pickletools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from steering.formats.archives import data_offset, open_archive
from steering.formats.config import BrokenDecoder, UnreadableSAE
from steering.formats.stored_tensor import ITEM_SIZES, StoredTensor

LARGEST_PICKLE = 2**20  # bytes; that of a state dict of ten tensors has a thousand
DTYPES = {
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
}
LITERALS = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "GLOBAL"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def pickle_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The pickle in a file of `torch.save`. Raises UnreadableSAE where none is there or it is too large to be one."""
    members = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        raise UnreadableSAE(f"{path} has compressed members: expected a file of torch.save")
    pickles = [info for info in members if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > LARGEST_PICKLE:
        raise UnreadableSAE(f"{path} has no data.pkl of at most {LARGEST_PICKLE} bytes: expected a file of torch.save")
    return pickles[0]


def pickled_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of floats in a saved state dict by name. Raises UnreadableSAE or BrokenDecoder."""
    with open_archive(path) as archive:
        pickle = pickle_member(path, archive)
        try:
            state = _Pickle(path, archive, pickle.filename.removesuffix("data.pkl")).read(archive.read(pickle))
        except Exception as error:  # a hostile pickle can bring about any of them
            raise BrokenDecoder(f"{path} is not a file of tensors alone: {str(error)[:200]}") from error
    if not isinstance(state, dict):
        raise BrokenDecoder(f"{path} holds {type(state).__name__}: expected a state dict")
    found = {str(name): value for name, value in state.items() if isinstance(value, StoredTensor)}
    return {name: replace(value, name=name) for name, value in found.items()}


@dataclass(frozen=True)
class _Storage:
    """The values that tensors are views of: the bytes of one member of the archive, None where these are no floats."""

    dtype: str | None
    member: str


class _Pickle:
    """The stack machine of pickle's protocol 2, as far as state dicts need it."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: str) -> None:
        self._path, self._archive, self._folder = path, archive, folder
        if f"{folder}byteorder" in archive.namelist():
            with archive.open(f"{folder}byteorder") as file:
                if file.read(10) != b"little":
                    raise ValueError("its values are not little-endian")
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self, raw: bytes) -> Any:
        """The value of the pickle, with tensors as their places. Raises whatever a malformed pickle leads to."""
        for operation, argument, _ in pickletools.genops(raw):
            self._follow(operation.name, argument)
        return self._stack.pop()

    def _follow(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in LITERALS:
            stack.append(_checked_global(argument) if name == "GLOBAL" else argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(self._memo[argument])
        elif method := OPERATIONS.get(name):
            method(self)
        elif name not in {"PROTO", "STOP"}:
            raise ValueError(f"the operation {name} is no part of a state dict")

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def make_tuple(self) -> None:
        self._stack.append(tuple(self._since_mark()))

    def make_list(self) -> None:
        self._stack.append([])

    def make_dict(self) -> None:
        self._stack.append({})

    def append(self) -> None:
        item = self._stack.pop()
        self._stack[-1].append(item)

    def append_all(self) -> None:
        items = self._since_mark()
        self._stack[-1].extend(items)

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._stack[-1][_text_or_number(key)] = value

    def set_items(self) -> None:
        items = self._since_mark()
        self._stack[-1].update(zip(map(_text_or_number, items[::2]), items[1::2], strict=True))

    def drop_state(self) -> None:
        self._stack.pop()  # torch's notes on the versions of modules

    def find_storage(self) -> None:
        kind, dtype, key, _device, _count = self._stack.pop()
        if kind != "storage":
            raise ValueError("it refers to something other than a storage")
        self._stack.append(_Storage(DTYPES.get(_text_or_number(dtype)), f"{self._folder}data/{_text_or_number(key)}"))

    def call(self) -> None:
        arguments, called = self._stack.pop(), self._stack.pop()
        method = CALLS.get(_text_or_number(called))
        self._stack.append(method(self, *arguments) if method else None)

    def ordered_dict(self, *_arguments: object) -> dict[Any, Any]:
        return {}

    def parameter(self, tensor: object, *_arguments: object) -> object:
        return tensor

    def tensor(
        self, storage: _Storage, start: int, shape: Sequence[int], strides: Sequence[int], *_arguments: object
    ) -> StoredTensor | None:
        """The place of a tensor; None where its values are no floats, or do not lie in the file as one block."""
        whole = len(shape) <= 8 and all(type(number) is int and 0 <= number < 2**53 for number in (start, *shape))
        if storage.dtype is None or not whole:
            return None
        is_c, is_fortran = (_strides_match(shape, strides, reverse=reverse) for reverse in (False, True))
        member, size = self._archive.getinfo(storage.member), ITEM_SIZES[storage.dtype]
        if not (is_c or is_fortran) or (start + prod(shape)) * size > member.file_size:
            return None
        offset = data_offset(self._path, member) + start * size
        return StoredTensor(self._path, "", storage.dtype, tuple(shape), offset, fortran=not is_c)


OPERATIONS = {
    "MARK": _Pickle.mark,
    "TUPLE": _Pickle.make_tuple,
    "EMPTY_LIST": _Pickle.make_list,
    "EMPTY_DICT": _Pickle.make_dict,
    "APPEND": _Pickle.append,
    "APPENDS": _Pickle.append_all,
    "SETITEM": _Pickle.set_item,
    "SETITEMS": _Pickle.set_items,
    "BINPERSID": _Pickle.find_storage,
    "REDUCE": _Pickle.call,
    "BUILD": _Pickle.drop_state,
}
CALLS: Mapping[str, Any] = {
    "collections OrderedDict": _Pickle.ordered_dict,
    "torch._utils _rebuild_parameter": _Pickle.parameter,
    "torch._utils _rebuild_tensor_v2": _Pickle.tensor,
}


def _checked_global(name: str) -> str:
    """A name that a pickle refers to, as text. Raises ValueError where it is not torch's."""
    if name != "collections OrderedDict" and name.split()[0].partition(".")[0] != "torch":
        raise ValueError(f"it refers to {name[:100]!r}")
    return name


def _text_or_number(value: Any) -> Any:
    """`value` where it may be hashed and printed. Raises ValueError."""
    if type(value) not in (str, int):
        raise ValueError("a key is neither text nor a number")
    return value


def _strides_match(shape: Sequence[int], strides: Sequence[int], *, reverse: bool) -> bool:
    """Return True for values that lie side by side in C order, or with `reverse` in Fortran order."""
    expected = 1
    axes = list(zip(shape, strides, strict=True))
    for size, stride in axes if reverse else axes[::-1]:
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True

"""The rows of an SAE's decoder, or the directions of a vector set, read one by one from a file of any format."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from steering.formats import control_vector
from steering.formats.config import BrokenDecoder, SAEConfig
from steering.formats.tensors import Float32, StoredTensor, stored_tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BrokenDecoder", "decoder_chunks", "decoder_rows"]

REMEMBERED_ROWS = 64  # of one steering: 1 MB where an SAE is 4,096 wide
BLOCK = 2**22  # values that one block of the whole decoder has at most, 16 MB


class _Decoder(Protocol):
    def rows(self, indices: Sequence[int]) -> Float32: ...

    def chunk(self, start: int, stop: int) -> Float32: ...


def decoder_rows(config: SAEConfig, indices: Sequence[int], layer: int | None = None) -> Float32:
    """The directions of the features `indices`, (len(indices), d_in) float32, as stored.

    `layer` is that of the directions; a set that spans several layers needs one. Only these rows are read. A compressed
    decoder is read up to the last of them, and the rows are kept in memory, so that the next request with the same
    features does not wait. Raises UnreadableSAE or BrokenDecoder.
    """
    config = _at(config, layer)
    for index in indices:
        if not 0 <= index < config.d_sae:
            raise BrokenDecoder(f"feature {index} is out of range: {config.weights} has {config.d_sae} features")
    decoder = _open(config)
    if isinstance(decoder, _Compressed) and len(indices) <= REMEMBERED_ROWS:
        stat = config.weights.stat()
        return _remembered(config, (stat.st_ino, stat.st_size, stat.st_mtime_ns), tuple(indices)).copy()
    return decoder.rows(indices)


def _at(config: SAEConfig, layer: int | None) -> SAEConfig:
    """`config` of its directions at `layer`."""
    if layer is None and len(config.layers) > 1:
        raise BrokenDecoder(f"{config.weights} spans the layers {_listed(config)}: name one of them")
    if layer is not None and layer not in config.layers:
        raise BrokenDecoder(f"{config.weights} has no direction at layer {layer}: expected one of {_listed(config)}")
    if layer is None or not config.spanned:
        return config
    return replace(config, decoder=control_vector.tensor_name(layer))


def _listed(config: SAEConfig) -> str:
    return ", ".join(map(str, config.layers))


@lru_cache(maxsize=32)
def _remembered(config: SAEConfig, stamp: tuple[int, ...], indices: tuple[int, ...]) -> Float32:
    """The rows of a compressed decoder; `stamp` changes with the file."""
    return _open(config).rows(indices)


def decoder_chunks(config: SAEConfig, rows: int = 4096, layer: int | None = None) -> Iterator[Float32]:
    """The whole decoder in order, (n, d_in) float32, n up to `rows`; of a set that spans layers that at `layer`.

    Raises UnreadableSAE or BrokenDecoder.
    """
    config = _at(config, layer)
    decoder = _open(config)
    step = max(1, min(rows, BLOCK // config.d_in))
    if isinstance(decoder, _Compressed) and not decoder.transposed:
        yield from decoder.stream(step)
        return
    for start in range(0, config.d_sae, step):
        yield decoder.chunk(start, min(start + step, config.d_sae))


def _open(config: SAEConfig) -> _Decoder:
    if config.weights.suffix == ".pt":
        return _Pickled(config)
    is_gguf = config.format == control_vector.FORMAT
    read: Callable[[Path], Mapping[str, StoredTensor]] = control_vector.stored_directions if is_gguf else stored_tensors
    stored = read(config.weights).get(config.decoder)
    shape = (config.d_in, config.d_sae) if config.transposed else (config.d_sae, config.d_in)
    if stored is None or stored.shape != shape:
        found = "is missing" if stored is None else f"is {stored.shape}"
        raise BrokenDecoder(f"{config.weights}: {config.decoder} {found}: expected {shape}")
    return _Compressed(config, stored) if stored.member else _Plain(config, stored)


class _Plain:
    """A decoder whose values lie in the file as they are."""

    def __init__(self, config: SAEConfig, stored: StoredTensor) -> None:
        self.config, self.stored = config, stored
        # Fortran order of (d_sae, d_in) is C order of (d_in, d_sae).
        self.transposed = config.transposed != stored.fortran

    def rows(self, indices: Sequence[int]) -> Float32:
        rows = np.empty((len(indices), self.config.d_in), np.float32)
        if self.transposed and indices:
            low = min(indices)
            wanted = np.asarray(indices) - low
            for column, values in enumerate(self._columns(low, max(indices) + 1)):
                rows[:, column] = values[wanted]
            return rows
        with self.stored.open() as file:
            for row, index in zip(rows, indices, strict=True):
                file.seek(self.stored.offset + index * self.config.d_in * self.stored.item_size)
                row[:] = self.stored.take(file, self.config.d_in)
        return rows

    def chunk(self, start: int, stop: int) -> Float32:
        stored, d_in = self.stored, self.config.d_in
        if self.transposed:
            return np.stack(list(self._columns(start, stop)), axis=1)
        with stored.open() as file:
            file.seek(stored.offset + start * d_in * stored.item_size)
            return stored.take(file, (stop - start) * d_in).reshape(-1, d_in)

    def _columns(self, start: int, stop: int) -> Iterator[Float32]:
        """The values of the features from `start` to `stop` in a transposed decoder, one dimension after the other."""
        with self.stored.open() as file:
            for column in range(self.config.d_in):
                file.seek(self.stored.offset + (column * self.config.d_sae + start) * self.stored.item_size)
                yield self.stored.take(file, stop - start)


class _Compressed:
    """A decoder that is decompressed from its start up to the last row that is wanted."""

    def __init__(self, config: SAEConfig, stored: StoredTensor) -> None:
        self.config, self.stored = config, stored
        self.transposed = config.transposed != stored.fortran

    def rows(self, indices: Sequence[int]) -> Float32:
        rows = np.empty((len(indices), self.config.d_in), np.float32)
        wanted = np.asarray(indices, dtype=np.int64)
        if self.transposed:
            with self.stored.open() as file:
                for column in range(self.config.d_in):
                    rows[:, column] = self.stored.take(file, self.config.d_sae)[wanted]
            return rows
        start = 0
        for block in self.stream(max(1, 2**20 // self.config.d_in), int(max(indices, default=-1)) + 1):
            here = (wanted >= start) & (wanted < start + len(block))
            rows[here] = block[wanted[here] - start]
            start += len(block)
        return rows

    def chunk(self, start: int, stop: int) -> Float32:
        return self.rows(range(start, stop))

    def stream(self, step: int, stop: int | None = None) -> Iterator[Float32]:
        """The rows up to `stop`, all by default, `step` at once, of a decoder that is not transposed."""
        stop = self.config.d_sae if stop is None else stop
        with self.stored.open() as file:
            for start in range(0, stop, step):
                count = min(step, stop - start)
                yield self.stored.take(file, count * self.config.d_in).reshape(count, self.config.d_in)


class _Pickled:
    """A decoder in a file of `torch.save`: torch maps the values, and unpickles nothing but tensors."""

    def __init__(self, config: SAEConfig) -> None:
        stored = unpickled_tensors(config).get(config.decoder)
        shape = (config.d_in, config.d_sae) if config.transposed else (config.d_sae, config.d_in)
        if stored is None or tuple(stored.shape) != shape:
            found = "is missing" if stored is None else f"is {tuple(stored.shape)}"
            raise BrokenDecoder(f"{config.weights}: {config.decoder} {found}: expected {shape}")
        self.values = stored.T if config.transposed else stored

    def rows(self, indices: Sequence[int]) -> Float32:
        return _numpy(self.values[list(indices)])

    def chunk(self, start: int, stop: int) -> Float32:
        return _numpy(self.values[start:stop])


def unpickled_tensors(config: SAEConfig) -> "dict[str, Tensor]":
    """The tensors of `ae.pt` by name, mapped from the file. Imports torch. Raises BrokenDecoder."""
    import torch

    try:
        state = torch.load(config.weights, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a hostile pickle can raise anything
        raise BrokenDecoder(f"{config.weights} is not a file of tensors alone: {error}") from error
    if not isinstance(state, dict):
        raise BrokenDecoder(f"{config.weights} holds {type(state).__name__}: expected a state dict")
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor) and _is_plain(value)}


def _is_plain(value: "Tensor") -> bool:
    """Whether a tensor is of floats that are in its file; one that repeats them, or has none, may be of any size."""
    if value.device.type != "cpu" or str(value.layout) != "torch.strided" or not value.is_floating_point():
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _numpy(values: "Tensor") -> Float32:
    return np.ascontiguousarray(values.float().numpy())

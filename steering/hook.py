"""The hooks that steer: every token of a packed batch gets the vector of its request's row."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steering.layers import decoder_blocks
from steering.spec import SteeringSpec

ROWS = "steering_rows"
"""The model keyword argument that carries the row index of each token, int, (tokens,)."""


class NoFreeRow(RuntimeError):
    """More different steerings at once than the table has rows."""


class SteeringHooks:
    """A table of steering vectors, (max_rows, d_model) for each hook point, and the hooks that add them.

    Row 0 is zeros: the row of every unsteered token. The tables stay at their addresses, so that a
    captured CUDA graph reads what is written to them later. A row is shared by all requests of
    one spec and is kept, for its next request, until another spec needs its place.
    """

    def __init__(self, model: nn.Module, max_rows: int) -> None:
        self._blocks = decoder_blocks(model)
        parameter = next(model.parameters())
        self._like: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
        self._max_rows = max_rows
        self._d_model = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self._tables: dict[int, Tensor] = {}
        self._rows: Tensor | None = None
        self._lock = threading.Lock()
        self._row_of: OrderedDict[SteeringSpec, int] = OrderedDict()  # least recently used first
        self._users: dict[SteeringSpec, int] = {}
        self._free = list(range(max_rows - 1, 0, -1))
        model.register_forward_pre_hook(self._take_rows, with_kwargs=True)

    def acquire(self, spec: SteeringSpec, directions: Callable[[SteeringSpec], Tensor]) -> int:
        """The row of `spec`; where it is new, its vector is `directions(spec)`, (d_model,) float32."""
        with self._lock:
            row = self._row_of.get(spec)
            if row is None:
                vector = directions(spec)
                row = self._take_free_row()
                self._write(spec.layer, row, vector)
                self._row_of[spec] = row
            self._row_of.move_to_end(spec)
            self._users[spec] = self._users.get(spec, 0) + 1
            return row

    def release(self, spec: SteeringSpec) -> None:
        """One request less uses the spec's row."""
        with self._lock:
            self._users[spec] -= 1
            if not self._users[spec]:
                del self._users[spec]

    def _take_free_row(self) -> int:
        if self._free:
            return self._free.pop()
        unused = next((spec for spec in self._row_of if spec not in self._users), None)
        if unused is None:
            raise NoFreeRow(f"{self._max_rows - 1} different steerings are running: expected no more at once")
        return self._row_of.pop(unused)

    def _write(self, layer: int, row: int, vector: Tensor) -> None:
        if layer not in self._tables:
            self._tables[layer] = torch.zeros(self._max_rows, self._d_model, **self._like)
            self._blocks[layer].register_forward_hook(self._adder(self._tables[layer]))
        for at, table in self._tables.items():
            # A row that last belonged to a spec of another layer must not steer there any more.
            table[row] = vector.to(**self._like) if at == layer else 0
        if self._tables[layer].is_cuda:
            torch.cuda.current_stream().synchronize()  # the engine's stream must see the write

    def _take_rows(self, _model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        # Taken here, since not every architecture hands unknown keyword arguments down to its blocks.
        self._rows = kwargs.pop(ROWS, None)
        return args, kwargs

    def _adder(self, table: Tensor) -> Any:
        def add(_block: nn.Module, _args: Any, output: Any) -> Any:
            return None if self._rows is None else _plus(output, table[self._rows])

        return add


@contextmanager
def steered(model: nn.Module, spec: SteeringSpec, vector: Tensor) -> Iterator[None]:
    """Every forward pass of `model` inside is steered by `vector`, (d_model,) float32, at the hook point of `spec`."""
    parameter = next(model.parameters())
    addend = vector.to(parameter.device, parameter.dtype)
    handle = decoder_blocks(model)[spec.layer].register_forward_hook(lambda _block, _args, out: _plus(out, addend))
    try:
        yield
    finally:
        handle.remove()


def _plus(output: Any, addend: Tensor) -> Any:
    """A block's output, a tensor or a tuple that starts with one, with `addend` on the residual stream."""
    return (output[0] + addend, *output[1:]) if isinstance(output, tuple) else output + addend

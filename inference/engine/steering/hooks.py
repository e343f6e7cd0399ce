"""The hooks that steer: they add to each token of a packed batch the vector of its request's row."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inference.engine.layers import add_at, transformer_blocks
from inference.interface import EngineBusy
from steering.architectures import parse_hook_name
from steering.spec import SteeringSpec

HookPlace = tuple[int, str]
"""A zero-based layer and a hook point in it."""
ROWS = "steering_rows"
"""The keyword argument of the model that carries the row of each token, (tokens,) int32."""


class SteeringHooks:
    """A table of steering vectors, (max_rows, d_model) for each hook point, and the hooks that add them.

    Row 0 is zeros: the row of every unsteered token. The tables stay at their addresses, so that a captured CUDA graph
    reads later writes. All requests of one spec share a row, which stays written for the spec's next request until
    another spec needs the row.
    """

    def __init__(self, model: nn.Module, max_rows: int, on_new_hook: Callable[[], None] = lambda: None) -> None:
        """`on_new_hook` is called after a hook is added at a new place: CUDA graphs captured earlier lack it."""
        self._model = model
        transformer_blocks(model)  # so that an unknown architecture fails here, not in the middle of a request
        parameter = next(model.parameters())
        self._like: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
        self._on_new_hook = on_new_hook
        self._max_rows = max_rows
        self._d_model = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self._tables: dict[HookPlace, Tensor] = {}
        self._rows: Tensor | None = None
        self._lock = threading.Lock()
        self._row_of: OrderedDict[SteeringSpec, int] = OrderedDict()  # least recently used first
        self._users: dict[SteeringSpec, int] = {}
        self._free = list(range(max_rows - 1, 0, -1))
        model.register_forward_pre_hook(self._take_rows, with_kwargs=True)

    def acquire(self, spec: SteeringSpec | None, directions: Callable[[SteeringSpec], Tensor]) -> int:
        """The row of `spec`; of a new spec the vector is `directions(spec)`, (d_model,) float32. Raises EngineBusy."""
        if spec is None:
            return 0
        with self._lock:
            if spec in self._row_of:
                return self._use(spec)
        # Without the lock: `release` must not wait while a decoder is read.
        vector = directions(spec)
        with self._lock:
            if spec not in self._row_of:  # another request of the spec may have been quicker
                self._row_of[spec] = self._written_row(parse_hook_name(spec.hook_name), vector)
            return self._use(spec)

    def _use(self, spec: SteeringSpec) -> int:
        self._row_of.move_to_end(spec)
        self._users[spec] = self._users.get(spec, 0) + 1
        return self._row_of[spec]

    def _written_row(self, place: HookPlace, vector: Tensor) -> int:
        row = self._take_free_row()
        try:
            self._write(place, row, vector)
        except BaseException:
            self._free.append(row)
            raise
        return row

    def release(self, spec: SteeringSpec | None) -> None:
        """End one request's use of the spec's row."""
        if spec is None:
            return
        with self._lock:
            self._row_of.move_to_end(spec)  # the row that has been unused for longest is the next to be overwritten
            self._users[spec] -= 1
            if not self._users[spec]:
                del self._users[spec]

    def _take_free_row(self) -> int:
        if self._free:
            return self._free.pop()
        unused = next((spec for spec in self._row_of if spec not in self._users), None)
        if unused is None:
            raise EngineBusy(f"{self._max_rows - 1} different steerings are running: expected no more at once")
        return self._row_of.pop(unused)

    def _write(self, place: HookPlace, row: int, vector: Tensor) -> None:
        if place not in self._tables:
            table = torch.zeros(self._max_rows, self._d_model, **self._like)
            add_at(self._model, *place, partial(self._added, table))
            self._tables[place] = table  # last, so that every place in the tables has its hook
            self._on_new_hook()
        for at, table in self._tables.items():
            # The row may have belonged to a spec of another place, where it must not steer any more.
            table[row] = vector.to(**self._like) if at == place else 0
        if self._tables[place].is_cuda:
            torch.cuda.current_stream().synchronize()  # the engine's stream must see the write

    def _take_rows(self, _model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        # At the model, since not every architecture hands unknown keyword arguments down to its blocks.
        self._rows = kwargs.pop(ROWS, None)
        return args, kwargs

    def _added(self, table: Tensor) -> Tensor | None:
        return None if self._rows is None else table[self._rows]


@contextmanager
def steered(model: nn.Module, spec: SteeringSpec, vector: Tensor) -> Iterator[None]:
    """Steer every forward pass of `model` in the block by `vector`, (d_model,) float32, at the hook point of `spec`."""
    parameter = next(model.parameters())
    addend = vector.to(parameter.device, parameter.dtype)
    handle = add_at(model, *parse_hook_name(spec.hook_name), lambda: addend)
    try:
        yield
    finally:
        handle.remove()

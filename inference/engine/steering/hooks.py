"""The hooks that steer: they change each token of a packed batch by the row of its request."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from inference.engine.layers import change_at, transformer_blocks
from inference.engine.steering.columns import Columns
from inference.engine.steering.conditions import Conditions, Held
from inference.engine.steering.placement import Parts, Placement
from inference.engine.steering.program import HookPlace, Program, program_of
from inference.engine.steering.regions import Regions
from inference.engine.steering.seat import UNSTEERED, Seat
from inference.engine.steering.weights import SteeringWeights
from inference.interface import EngineBusy, GenerationError
from steering.spec import Condition, SteeringSpec

ROWS = "steering_rows"
"""The keyword argument of the model that carries the `TokenRows` of a batch."""


@dataclass(frozen=True)
class TokenRows:
    """The row and the position in its text of each token of a forward pass, (tokens,) or (texts, tokens), int32.

    `used` are the rows that occur; None where that is unknown, as in a CUDA graph.
    """

    rows: Tensor
    positions: Tensor
    used: frozenset[int] | None


class TooManySets(GenerationError):
    """A steering by more sets of parts, each at some tokens, than there are rows for."""

    param = "steering"

    def __init__(self, got: int, most: int) -> None:
        super().__init__(
            f"the steering has {got} different sets of parts along a text, expected at most {most}: "
            "give more of its parts the same positions, special_tokens, tools and thinking"
        )


Key = tuple[Parts, str]
"""The parts of a row, and the id of the request whose own it is; empty for a row that requests share."""


class SteeringHooks:
    """A table of steering vectors, (max_rows, d_model) for each hook point, columns of further changes, and the hooks.

    Row 0 is zeros: the row of every unsteered token. The tables stay at their addresses, so that a captured CUDA graph
    reads later writes. All tokens that the same parts steer share a row, which stays written for the next request
    until other parts need the row. A request with conditions has rows of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        max_rows: int,
        weights: SteeringWeights,
        special: Collection[int] = (),
        on_new_hook: Callable[[], None] = lambda: None,
    ) -> None:
        """`special` are the ids of special tokens.

        `on_new_hook` is called when CUDA graphs that were captured earlier lack a hook or a column.
        """
        self._model, self._weights, self._special = model, weights, frozenset(special)
        transformer_blocks(model)  # so that an unknown architecture fails here, not in the middle of a request
        parameter = next(model.parameters())
        self._like: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
        self._on_new_hook = on_new_hook
        self._max_rows = max_rows
        self._d_model = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self._tables: dict[HookPlace, Tensor] = {}
        self._columns: dict[HookPlace, Columns] = {}
        self._conditions = Conditions(max_rows, parameter.device)
        self._now: TokenRows | None = None
        self._held: Held | None = None
        self._lock = threading.Lock()
        self._row_of: OrderedDict[Key, int] = OrderedDict()  # least recently used first
        self._users: dict[Key, int] = {}
        self._free = list(range(max_rows - 1, 0, -1))
        self._handles: list[RemovableHandle] | None = None

    def install(self) -> None:
        """Register the hooks on the model, also those of hook points that come later."""
        self._handles = [self._register(place) for place in self._tables]

    def remove(self) -> None:
        """Remove the hooks from the model; the rows stay."""
        for handle in self._handles or ():
            handle.remove()
        self._handles = None

    def take_rows_from_arguments(self) -> None:
        """Steer each forward pass by the rows in its argument ROWS; a pass without it is not steered."""
        self._model.register_forward_pre_hook(self._take_rows, with_kwargs=True)

    # --- the rows of requests ---

    def acquire(
        self,
        spec: SteeringSpec | None,
        prompt_tokens: int,
        request_id: str,
        regions: Regions | None = None,
        prompt: Sequence[int] = (),
    ) -> Seat:
        """The rows of a request; `regions` finds calls and the reasoning in its text, if the model has them.

        The tokens `prompt` are read for them here: the batch's thread has less to do then.
        Raises EngineBusy where none is free, TooManySets, and what reading the weights raises.
        """
        if spec is None:
            return UNSTEERED
        placement = Placement(spec, prompt_tokens, self._special, regions)
        placement.read(0, prompt)
        whens = [part.when for part in spec.parts if part.when]
        private = request_id if whens else ""
        needed = sum(bool(parts or private) for parts in placement.sets)
        if needed >= self._max_rows:
            raise TooManySets(needed, self._max_rows - 1)
        with ExitStack() as undo:
            conditions = {condition: self._take_condition(condition, undo) for condition in dict.fromkeys(whens)}
            rows = {}
            for parts in placement.sets:
                rows[parts] = self._acquire_row((parts, private), conditions, undo) if parts or private else 0
            return Seat(placement, rows, undo.pop_all().close, [conditions[when] for when in whens], private)

    def first_held(self, seat: Seat) -> list[int | None]:
        """For each part of a request with a condition, the position of the first token at which the condition held."""
        return [self._conditions.first(number) for number in seat.conditions]

    def _acquire_row(self, key: Key, conditions: Mapping[Condition, int], undo: ExitStack) -> int:
        with self._lock:
            if key in self._row_of:
                return self._use(key, undo)
        # Without the lock: a release must not wait while weights are read.
        program = program_of(key[0], conditions, self._weights)
        with self._lock:
            if key not in self._row_of:  # another request of the same steering may have been quicker
                self._row_of[key] = self._written_row(program)
            return self._use(key, undo)

    def _use(self, key: Key, undo: ExitStack) -> int:
        self._row_of.move_to_end(key)
        self._users[key] = self._users.get(key, 0) + 1
        undo.callback(self._release_row, key)
        return self._row_of[key]

    def _written_row(self, program: Program) -> int:
        row = self._take_free_row()
        try:
            self._write(program, row)
        except BaseException:
            self._free.append(row)
            raise
        return row

    def _release_row(self, key: Key) -> None:
        with self._lock:
            self._row_of.move_to_end(key)  # the row that has been unused for longest is the next to be overwritten
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                # Nobody else can use a private row, and an unused row should keep no whole encoder in memory.
                if key[1] or any(columns.has_whole_encoder(self._row_of[key]) for columns in self._columns.values()):
                    row = self._row_of.pop(key)
                    self._forget_columns(row)
                    self._free.append(row)

    def _take_free_row(self) -> int:
        if self._free:
            return self._free.pop()
        unused = next((key for key in self._row_of if key not in self._users), None)
        if unused is None:
            raise EngineBusy(f"{self._max_rows - 1} different steerings are running: expected no more at once")
        return self._row_of.pop(unused)

    def _take_condition(self, condition: Condition, undo: ExitStack) -> int:
        with self._lock:
            number = self._conditions.take(condition.so_far)
        if number is None:
            raise EngineBusy("too many conditions are in use: try again later")
        undo.callback(self._release_condition, number)
        return number

    def _release_condition(self, number: int) -> None:
        with self._lock:
            self._conditions.release(number)

    def _write(self, program: Program, row: int) -> None:
        for place in program.places:
            self._add_hook(place)
        self._forget_columns(row)
        for at, table in self._tables.items():
            # The row may have belonged to another steering, and must not steer by it any more.
            vector = program.vectors.get(at)
            table[row] = 0 if vector is None else vector.to(**self._like)
        for at, columns in program.columns.items():
            self._columns[at].add(row, columns)
        if program.columns:
            self._on_new_hook()
        if self._like["device"].type == "cuda":
            torch.cuda.current_stream().synchronize()  # the engine's stream must see the write

    def _forget_columns(self, row: int) -> None:
        removed = [columns.remove(row) for columns in self._columns.values()]
        if any(removed):
            self._on_new_hook()

    def _add_hook(self, place: HookPlace) -> None:
        if place in self._tables:
            return
        table = torch.zeros(self._max_rows, self._d_model, **self._like)
        self._columns[place] = Columns(self._max_rows, self._d_model, self._like["device"])
        self._tables[place] = table
        if self._handles is not None:
            try:
                self._handles.append(self._register(place))
            except BaseException:
                del self._tables[place], self._columns[place]
                raise
            self._on_new_hook()

    def _register(self, place: HookPlace) -> RemovableHandle:
        return change_at(self._model, *place, partial(self._changed, self._tables[place], self._columns[place]))

    # --- the forward pass ---

    def _take_rows(self, _model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        # At the model, since not every architecture hands unknown keyword arguments down to its blocks.
        self.set_rows(kwargs.pop(ROWS, None))
        return args, kwargs

    def set_rows(self, rows: TokenRows | None) -> None:
        """Steer the next forward pass by these rows; None steers no token."""
        self._now = rows
        self._held = self._conditions.step(rows.positions.flatten()) if rows is not None else None

    def _changed(self, table: Tensor, columns: Columns, stream: Tensor) -> Tensor | None:
        now = self._now
        if now is None:
            return None
        assert self._held is not None
        rows = now.rows
        added = table[rows]
        further = columns.change(stream.reshape(-1, stream.size(-1)), rows.flatten(), now.used, self._held)
        if further is None:
            return stream + added
        return (stream.float() + added.float() + further.view_as(stream)).to(stream.dtype)

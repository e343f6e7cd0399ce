"""The steerings of the requests in one process that runs the model, and the rows of the tokens of a step."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.steering.columns import Columns
from inference.engine.steering.conditions import Conditions
from inference.engine.steering.program import HookPlace, Program
from inference.vllm.steering.payload import Payload

FIRST_ROWS = 64


@dataclass
class Place:
    """What steers at one hook point: `table`, (rows, d_model), is added; `columns` are further changes.

    `rows` are those that change anything here.
    """

    table: Tensor
    columns: Columns
    rows: set[int] = field(default_factory=set)


@dataclass
class Step:
    """The tokens of one forward pass: their rows, (tokens,) int64, with those that occur, and their requests.

    `request` is the number of each token's request in `request_ids`, (tokens,) int64. `reads` are the salts of those
    requests that began with tokens from the KV cache, "" of others; `salts` are those of all. `lost`, (tokens,) bool,
    is true where the stream was not finite.
    """

    rows: Tensor
    used: frozenset[int]
    request_ids: Sequence[str]
    request: Tensor
    salts: Sequence[str]
    reads: Sequence[str]
    lost: Tensor
    is_sound: bool
    """True while no token is lost, on a CPU: on a GPU, to ask would be to wait."""

    def lost_ids(self) -> list[str]:
        """The requests of which a token is lost, and those that may have read its keys and values."""
        numbers = self.request[self.lost].unique().tolist()
        salts = {self.salts[number] for number in numbers} - {""}
        readers = [number for number, salt in enumerate(self.reads) if salt in salts]
        return [self.request_ids[number] for number in sorted({*numbers, *readers})]

    def lost_requests(self) -> Tensor:
        """True for each token of a request of which a token is lost, (tokens,)."""
        counts = torch.zeros(len(self.request_ids), dtype=torch.int32, device=self.lost.device)
        return counts.index_add(0, self.request, self.lost.int())[self.request] > 0


class Programs:
    """The programs of the requests in this process; row 0 is that of unsteered tokens.

    Requests of equal steerings share a row, by its key. vLLM calls all of it in the thread that runs the model, so that
    nothing changes during a forward pass.
    """

    def __init__(self, d_model: int, special: Collection[int], like: Mapping[str, Any]) -> None:
        """`like` has the dtype and the device of the residual stream; `special` are ids of special tokens."""
        self._d_model, self._like = d_model, dict(like)
        self._special = torch.tensor(sorted(special), device=self._like["device"])
        self._requests: dict[str, Payload] = {}
        self._readers: set[str] = set()
        self._row_of: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._rows = FIRST_ROWS
        self._free = list(range(FIRST_ROWS - 1, 0, -1))
        self._places: dict[HookPlace, Place] = {}
        self._no_conditions = Conditions(1, torch.device(self._like["device"]))
        self._lost: set[str] = set()
        self._lost_salts: set[str] = set()
        self.step: Step | None = None
        """The tokens of the next forward pass; None steers none of them."""

    def add(self, request_id: str, payload: Payload, cached: int = 0) -> None:
        """Take up a request, before its first forward pass; the KV cache had the first `cached` of its tokens."""
        self.remove(request_id)
        for key, program in payload.programs.items():
            if key not in self._row_of:
                self._row_of[key] = self._written(program)
        for key in payload.programs:
            self._users[key] = self._users.get(key, 0) + 1
        self._requests[request_id] = payload
        if cached:
            self._readers.add(request_id)
            if payload.salt in self._lost_salts:
                self.lose(request_id)  # it reads what a lost request wrote

    def lose(self, request_id: str) -> None:
        """Have a request end as lost at its next step."""
        self._lost.add(request_id)

    def remove(self, request_id: str) -> None:
        """Forget a request that has ended; an unsteered one is no error."""
        self._note_lost()  # before: a request of the same id may come
        payload = self._requests.pop(request_id, None)
        self._lost.discard(request_id)
        self._readers.discard(request_id)
        for key in payload.programs if payload else ():
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                self._forget(self._row_of.pop(key))

    def begin(
        self,
        request_ids: Sequence[str],
        starts: NDArray[np.int32],
        computed: NDArray[np.int32],
        token_ids: Tensor | None,
    ) -> None:
        """Set the rows of a step: tokens `starts[i]` to `starts[i + 1]` are of the i-th request.

        `computed[i]` is the position in its text of its first one; `token_ids` are the tokens, (tokens,) or more.
        """
        self._note_lost()
        steered = [(index, own) for index, one in enumerate(request_ids) if (own := self._requests.get(one))]
        if not steered and self._lost.isdisjoint(request_ids):
            return
        plain = np.zeros(int(starts[len(request_ids)]), dtype=np.int64)
        special = plain.copy()
        for index, payload in steered:
            first, end = int(starts[index]), int(starts[index + 1])
            self._fill(payload, int(computed[index]), plain[first:end], special[first:end])
        rows = torch.from_numpy(plain).to(self._like["device"], non_blocking=True)
        if len(self._special) and not np.array_equal(plain, special):
            assert token_ids is not None, "a steering that leaves out special tokens needs the tokens"
            is_special = torch.isin(token_ids[: len(plain)], self._special)
            rows = torch.where(is_special, torch.from_numpy(special).to(rows.device), rows)
        request = torch.from_numpy(np.repeat(np.arange(len(request_ids)), np.diff(starts[: len(request_ids) + 1])))
        lost = torch.tensor([one in self._lost for one in request_ids])[request]
        used = frozenset(plain.tolist()) | frozenset(special.tolist())
        salts = [own.salt if (own := self._requests.get(one)) else "" for one in request_ids]
        reads = [salt if one in self._readers else "" for one, salt in zip(request_ids, salts, strict=True)]
        is_sound = rows.device.type == "cpu" and not lost.any().item()
        self.step = Step(
            rows, used, list(request_ids), request.to(rows.device), salts, reads, lost.to(rows.device), is_sound
        )

    def begin_test(self, program: Program, tokens: int) -> None:
        """Steer the next forward passes, of `tokens` tokens, by `program`: for the test at the start."""
        self.add("test", Payload([(0, "test", "test")], {"test": program}))
        self.begin(["test"], np.array([0, tokens], np.int32), np.array([0], np.int32), None)

    def end_test(self) -> None:
        """Steer no token any more."""
        self.remove("test")
        self.step = None

    def change(self, place: HookPlace, hidden: Tensor, residual: Tensor | None) -> None:
        """Change the residual stream at a hook point in place: `hidden`, or where it is given `hidden + residual`.

        Both are (tokens, d_model), with padding at the end. The change is made in `hidden`.
        """
        step, own = self.step, self._places.get(place)
        if step is None or own is None or step.used.isdisjoint(own.rows):
            return
        tokens = len(step.rows)
        mine = hidden[:tokens]
        added = own.table[step.rows]
        stream = mine if residual is None else mine + residual[:tokens]
        further = own.columns.change(stream, step.rows, step.used, self._no_conditions.step(step.rows))
        if further is None:
            mine += added
        else:
            mine.copy_(mine.float() + added.float() + further)

    def guard(self, hidden: Tensor, residual: Tensor | None, *, is_end: bool) -> None:
        """Keep numbers that are not finite out of the KV cache, in which they would reach other requests.

        The stream, `hidden` or `hidden + residual`, is between two blocks. A token where it is not finite is zero from
        here on. `is_end` is after the last block of this process where another process goes on: there all tokens of
        such a request become NaN, so that the next one knows of it.
        """
        step = self.step
        if step is None:
            return
        tokens = len(step.rows)
        parts = [part[:tokens] for part in (hidden, residual) if part is not None]
        if step.is_sound and all(isfinite(part.sum(dtype=torch.float32).item()) for part in parts):
            return
        step.is_sound = False
        stream = parts[0] if residual is None else parts[0] + parts[1]
        step.lost |= ~stream.float().abs().amax(dim=-1).isfinite()
        for part in parts:
            part.masked_fill_(step.lost.unsqueeze(1), 0)
        if is_end:
            parts[0].masked_fill_(step.lost_requests().unsqueeze(1), torch.nan)

    def _note_lost(self) -> None:
        """Keep in mind which requests the last step has lost: their later tokens are lost too."""
        if self.step is not None and not self.step.is_sound:
            lost = self.step.lost_ids()
            self._lost.update(lost)
            self._lost_salts.update(self._requests[one].salt for one in lost if one in self._requests)
        self.step = None

    def _fill(self, payload: Payload, first: int, plain: NDArray[np.int64], special: NDArray[np.int64]) -> None:
        """Write the rows of tokens from the position `first` on."""
        row = {key: self._row_of[key] for key in payload.programs} | {"": 0}
        for start, plain_key, special_key in payload.segments:
            at = max(0, start - first)  # later segments overwrite the rest
            plain[at:], special[at:] = row[plain_key], row[special_key]

    def _written(self, program: Program) -> int:
        if not self._free:
            self._grow()
        row = self._free.pop()
        for place in program.places:
            own = self._places.get(place) or self._new_place(place)
            if (vector := program.vectors.get(place)) is not None:
                own.table[row] = vector.to(**self._like)
            if columns := program.columns.get(place):
                own.columns.add(row, columns)
            own.rows.add(row)
        return row

    def _forget(self, row: int) -> None:
        for place in self._places.values():
            if row in place.rows:
                place.table[row] = 0
                place.columns.remove(row)
                place.rows.remove(row)
        self._free.append(row)

    def _new_place(self, place: HookPlace) -> Place:
        table = torch.zeros(self._rows, self._d_model, **self._like)
        self._places[place] = Place(table, Columns(self._rows, self._d_model, table.device))
        return self._places[place]

    def _grow(self) -> None:
        """Double the number of rows."""
        for place in self._places.values():
            place.table = torch.cat([place.table, torch.zeros_like(place.table)])
            place.columns.resize(2 * self._rows)
        self._free += range(2 * self._rows - 1, self._rows - 1, -1)
        self._rows *= 2

"""The conditions under which parts steer: whether each holds at a token, and where it first held."""

from dataclasses import dataclass

import torch
from torch import Tensor

NEVER = 2**31 - 1


class Conditions:
    """The state of each condition of the requests in the engine.

    Condition 0 always holds; every other one belongs to one request. A condition that counts tokens "so far" holds
    from the first token on at which its feature is above its threshold.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self._device = device
        self._so_far = torch.zeros(count, dtype=torch.bool, device=device)
        self._has_held = torch.zeros(count, dtype=torch.bool, device=device)
        self._first = torch.full((count,), NEVER, dtype=torch.int32, device=device)
        self._free = list(range(count - 1, 0, -1))

    def take(self, so_far: bool) -> int | None:
        """The number of a free condition, reset; None where none is free."""
        if not self._free:
            return None
        taken = self._free.pop()
        self._so_far[taken], self._has_held[taken], self._first[taken] = so_far, False, NEVER
        return taken

    def release(self, taken: int) -> None:
        self._free.append(taken)

    def first(self, taken: int) -> int | None:
        """The position in prompt and answer of the first token at which the feature was above the threshold."""
        position = int(self._first[taken])
        return None if position == NEVER else position

    def step(self, positions: Tensor) -> "Held":
        """The conditions in one forward pass of tokens at `positions`, (tokens,)."""
        return Held(self, positions)


@dataclass
class Held:
    """Whether each condition holds at each token of one forward pass; those that are not decided do not hold."""

    conditions: Conditions
    positions: Tensor
    _held: Tensor | None = None

    def decide(self, numbers: Tensor, now: Tensor) -> None:
        """Decide the conditions `numbers`, (n,), none of them twice, by `now`, (tokens, n).

        True are tokens of a condition's request at which its feature is above the threshold. The tokens of a request
        come in the order of the text.
        """
        state = self.conditions
        so_far = (now.cumsum(dim=0) > 0) | state._has_held[numbers]
        state._has_held[numbers] |= now.any(dim=0)
        where = torch.where(now, self.positions.unsqueeze(1).to(torch.int32), NEVER).amin(dim=0)
        state._first[numbers] = torch.minimum(state._first[numbers], where)
        self._table()[:, numbers] = torch.where(state._so_far[numbers], so_far, now)

    def of(self, numbers: Tensor) -> Tensor:
        """Whether each of the conditions `numbers`, (n,), holds at each token, (tokens, n)."""
        return self._table()[:, numbers]

    def _table(self) -> Tensor:
        if self._held is None:
            count = len(self.conditions._first)
            self._held = torch.zeros(len(self.positions), count, dtype=torch.bool, device=self.positions.device)
            self._held[:, 0] = True
        return self._held

"""The place of one request in the steering tables: the row of each of its tokens."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from inference.engine.steering.placement import Parts, Placement, key_of


class Seat:
    """The rows of one request, by the parts that steer a token.

    `conditions` are the numbers, in `inference.engine.steering.conditions`, of the condition of each part that has one.
    The KV blocks of a request with conditions are its own: `private` is its id then.
    """

    def __init__(
        self,
        placement: Placement,
        rows: Mapping[Parts, int],
        release: Callable[[], None],
        conditions: Sequence[int] = (),
        private: str = "",
    ) -> None:
        """`release` ends the use of the rows and the conditions."""
        self._placement, self._rows, self.release, self.conditions = placement, rows, release, conditions
        self._row = next(iter(rows.values())) if placement.is_uniform else None
        self._keys = {parts: key_of(parts, private) for parts in rows}

    def rows(self, start: int, ids: Sequence[int]) -> list[int]:
        """The row of each of the tokens `ids`, of which the first is at the position `start` of prompt and answer."""
        if self._row is not None:
            return [self._row] * len(ids)
        return [self._rows[parts] for parts in self._placement.at(start, ids)]

    def seeds(self, ids: Sequence[int], block: int) -> Iterator[tuple[int, str]]:
        """(first position, seed) of each block of `block` tokens of the text `ids` in which the steering changes.

        Before the text it is unsteered. The hash of a block follows from those before it, so that the blocks until the
        first steered one are everybody's, and equal steerings of equal texts have equal hashes.
        """
        changes: dict[int, list[str]] = {}
        before = ""
        for position, parts in self._placement.runs(ids):
            key = self._keys[parts]
            if key != before and position < len(ids):
                changes.setdefault(position // block, []).append(f"{position % block}:{key}")
            before = key
        for number, found in changes.items():
            yield number * block, ",".join(found)


class Unsteered(Seat):
    """The seat of all unsteered requests."""

    def __init__(self) -> None:
        self.conditions = ()
        self.release = lambda: None

    def rows(self, start: int, ids: Sequence[int]) -> list[int]:
        return [0] * len(ids)

    def seeds(self, ids: Sequence[int], block: int) -> Iterator[tuple[int, str]]:
        yield from ()


UNSTEERED = Unsteered()


def seeded(ids: list[int], seat: Seat, block: int) -> list[int]:
    """`ids` where the first two tokens of some blocks of `block` tokens are replaced by a hash of them and of a seed.

    transformers only hashes the list, block by block, each with the hash of the block before. The replacements are 62
    bits of the hash and negative, so that no unsteered text equals them. A block has more than two tokens.
    """
    changed: list[int] | None = None
    for start, seed in seat.seeds(ids, block):
        changed = list(ids) if changed is None else changed
        head = hashlib.blake2b(f"{seed}:{ids[start : start + 2]}".encode(), digest_size=8).digest()
        halves = (int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little"))
        changed[start : start + 2] = [-1 - (half >> 1) for half in halves][: len(ids) - start]
    return ids if changed is None else changed

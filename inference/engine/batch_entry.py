"""miLLM's data of one request in transformers' batch."""

import threading
from dataclasses import dataclass, field
from typing import Any

from transformers.generation.continuous_batching.requests import RequestState

from inference.engine.sampling.constraints import Constraint
from inference.engine.steering.seat import UNSTEERED, Seat
from inference.interface import SamplingParams

GREEDY = SamplingParams(temperature=0.0)
ENTRY_KEYWORD = "entry"
"""The keyword argument of `ContinuousBatchingManager.add_request` under which the entry travels."""


@dataclass(frozen=True, eq=False)
class BatchEntry:
    """The steering and the sampling of one request of the batch.

    `seat` has its rows in the tables of `inference.engine.steering`, and the seeds of the hashes of its KV blocks.
    `slot` is its slot in the token tables, 0 for none. Log-probabilities of new tokens are appended to
    `logprobs`, as (own, [(token id, log-probability)]); None asks for none. `is_lost` is set once the logits of a token
    are not finite.
    """

    sampling: SamplingParams = GREEDY
    prompt_tokens: int = 0
    seat: Seat = UNSTEERED
    slot: int = 0
    constraint: Constraint | None = None
    logprobs: list[tuple[float, list[tuple[int, float]]]] | None = field(default=None)
    is_lost: threading.Event = field(default_factory=threading.Event)

    def __deepcopy__(self, memo: dict[int, Any]) -> "BatchEntry":
        """Return this entry: transformers copies a request that loses its cache blocks, and the answer continues."""
        return self


IDLE = BatchEntry()
"""The entry of transformers' own warm-up requests."""


def entry_of(state: RequestState) -> BatchEntry:
    """The entry of a request in the batch."""
    entry: BatchEntry = state.logit_processor_kwargs.get(ENTRY_KEYWORD, IDLE)
    return entry

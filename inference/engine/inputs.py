"""The inputs and outputs of a step of the batch: a steering row for each token, and OUTPUT_LINES of output.

`SteeredInputs` and `PlannedInputs` are subclasses of transformers' inputs. The steering rows are the last line of the
tensor in which the batch's small inputs lie: it is copied to the GPU with them and keeps its address, so that a
captured CUDA graph reads it.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs, PagedAttentionArgs
from transformers.generation.continuous_batching.requests import FutureRequestState

from inference.engine.attention.kept import KeptReads
from inference.engine.attention.plan import PLAN_ATTRIBUTE, Plan, Share
from inference.engine.batch_entry import entry_of
from inference.engine.sampling.sampler import MAX_LOGPROBS, BatchSampler, log_probabilities
from inference.engine.steering.hooks import ROWS, TokenRows

NO_MASK = torch.empty(1, 1, 1, 1)
OUTPUT_LINES = 3 + 2 * MAX_LOGPROBS
"""The chosen token, the 41 lines of `log_probabilities`, and a flag for a finite score."""


def write_outputs(sampler: BatchSampler, scores: Tensor, output_ids: Tensor) -> None:
    """Write the OUTPUT_LINES of the next tokens into `output_ids`, (lines, tokens) int32.

    `scores` are (1, rows, vocab). A NaN counts as the largest of its row, so that it shows in the token's score.
    """
    largest, chosen = scores[0].max(dim=-1)
    rows = chosen.size(0)
    output_ids[0, :rows].copy_(chosen)
    output_ids[-1, :rows].copy_(largest.isfinite())
    if sampler.raw is not None:
        lines = log_probabilities(sampler.raw, chosen)
        output_ids[1 : 1 + lines.size(0), :rows].copy_(lines)


class SteeredInputs(ContinuousBatchingIOs):
    """Inputs whose last line holds the steering row of each token."""

    def prepare_batch_tensors(self, requests_in_batch: list[FutureRequestState], *args: Any, **kwargs: Any) -> None:
        # Before transformers advances them.
        tokens = [(one.state, one.state.position_offset, one.state.tokens_to_process) for one in requests_in_batch]
        super().prepare_batch_tensors(requests_in_batch, *args, **kwargs)
        rows: list[int] = []
        for state, start, ids in tokens:
            rows += entry_of(state).seat.rows(start, ids)
        line = self._bulk_input_tensor[-1]
        line[: len(rows)] = torch.tensor(rows, dtype=torch.int32)
        line[len(rows) : self.num_q_tokens] = 0
        self.used_rows = frozenset(rows)

    def prepare_batch_update(self) -> tuple[list[FutureRequestState], list[int], list[float] | None]:
        updated: tuple[list[FutureRequestState], list[int], list[float] | None] = super().prepare_batch_update()
        answering = [future for future in self.requests_in_batch if future.has_new_token]
        finite = self.output_ids[-1, : len(answering)].tolist()
        for row, future in enumerate(answering):
            entry = entry_of(future.state)
            if not finite[row]:
                entry.is_lost.set()
            if entry.logprobs is not None:
                entry.logprobs.append(self._log_probabilities(row))
        return updated

    def _log_probabilities(self, row: int) -> tuple[float, list[tuple[int, float]]]:
        """The log-probability of the row's new token, and those of the most probable tokens in descending order."""
        column = self.output_ids[1:-1, row]
        values = column.contiguous().view(torch.float32).tolist()
        ids = column[1 : 1 + MAX_LOGPROBS].tolist()
        return values[0], list(zip(ids, values[1 + MAX_LOGPROBS :], strict=True))

    def get_model_kwargs(self, use_padding: bool = False) -> PagedAttentionArgs:
        kwargs: dict[str, Any] = super().get_model_kwargs(use_padding)
        if use_padding or self.used_rows != {0}:
            rows, positions = self._bulk_input_tensor[-1, : self.num_q_tokens], self.position_ids[: self.num_q_tokens]
            kwargs[ROWS] = TokenRows(rows, positions, None if use_padding else self.used_rows)
        return kwargs


class PlannedInputs(SteeredInputs):
    """Inputs for the attention of `inference.engine.attention`, which needs a plan, no packed reads and no mask."""

    reads: KeptReads

    def prepare_batch_tensors(self, requests_in_batch: list[FutureRequestState], *args: Any, **kwargs: Any) -> None:
        states = [(future.state, future.state.position_offset, future.query_length) for future in requests_in_batch]
        super().prepare_batch_tensors(requests_in_batch, *args, **(kwargs | {"max_kv_read": 0}))
        [allocator] = self.cache.cache_allocators.values()
        shares = [
            Share(state.request_id, past, query, allocator.block_table[state.request_id])
            for state, past, query in states
        ]
        write_index = self.write_index_storage[0, : self.true_write_sizes[0]]
        setattr(self.cache, PLAN_ATTRIBUTE, Plan.of(shares, allocator, write_index, self.reads))

    def get_model_kwargs(self, use_padding: bool = False) -> PagedAttentionArgs:
        # The model hands on a mask of four dimensions as it is; without one it would make one that nothing reads.
        return {**super().get_model_kwargs(use_padding), "attention_mask": NO_MASK}

"""Sampling of the next token for every row of a batch at once, each row by its own parameters and seed.

`BatchSampler` returns scores, of which the engine takes the argmax: see `choice`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState
from transformers.generation.logits_process import LogitsProcessorList

from inference.engine.batch_entry import GREEDY, BatchEntry, entry_of
from inference.engine.sampling.choice import UINT32, Filters, Noise, perturbed, perturbed_all, perturbed_few
from inference.engine.sampling.token_tables import TokenTables
from inference.interface import SamplingParams

MAX_LOGPROBS = 20
COLDEST = 1e-5
"""Below this temperature the most probable token alone has a probability, and the division would overflow."""


class BatchSampler(ContinuousBatchingLogitsProcessorList):
    """Penalises, scales, filters and perturbs the logits of each row as its request asks.

    Its arguments are int32 rows of the batch's input tensor, with a column for each new token: the floats as their
    32 bits, then top_k, the seed (two halves), position, slot of the token tables, and 1 where the last token is the
    answer's.
    """

    FLOATS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
    ARGUMENTS = len(FLOATS) + 6

    def __init__(self, tables: TokenTables) -> None:
        super().__init__(LogitsProcessorList())
        self.tables = tables
        self.tensors_required = self.ARGUMENTS + 1  # the last line holds the steering rows: see inference.engine.inputs
        self.do_processing = True
        # The host knows what no row of a step asks for, and skips it. A captured CUDA graph cannot branch.
        self.can_skip = True
        self._sampled = self._penalised = self.wants_logprobs = True
        self._idle = self._columns([GREEDY], [[0, 0, 0]])  # a row that gets no token, (arguments, 1)
        self.raw: Tensor | None = None
        """The last step's logits before penalties and temperature; None where no row asks for log-probabilities."""

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Accept all: requests carry a `BatchEntry`, whose sampling is typed."""

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()
        int32_tensor[: self.ARGUMENTS] = self._idle

    def prepare_tensor_args(self, requests_in_batch: list[FutureRequestState], arg_storage: Tensor) -> Tensor:
        """Write the arguments of the rows that get a new token into `arg_storage`, (arguments, max_tokens)."""
        states = [future.state for future in requests_in_batch if future.has_new_token]
        entries = [entry_of(state) for state in states]
        for state, entry in zip(states, entries, strict=True):
            if entry.constraint:
                self.tables.allow(entry.slot, entry.constraint.allowed(_answer_ids(state)))
        self._sampled = any(entry.sampling.temperature > 0 for entry in entries)
        self._penalised = any(entry.slot for entry in entries)
        self.wants_logprobs = any(entry.logprobs is not None for entry in entries)
        if entries and (self._sampled or self._penalised or not self.can_skip):
            columns = self._columns([entry.sampling for entry in entries], list(map(_place, states, entries)))
            arg_storage[: self.ARGUMENTS, : len(entries)] = columns.to(arg_storage.device)
            # A request in the middle of its prompt has a row of logits too, behind the others. With the arguments of
            # an earlier step, its token would be counted in a slot of another request.
            arg_storage[: self.ARGUMENTS, len(entries) :] = self._idle.to(arg_storage.device)
        return arg_storage

    def __call__(self, input_ids: Tensor, scores: Tensor, logits_processor_args: Tensor) -> Tensor:
        """`scores` (rows, vocab) float32 in, scores whose argmax is each row's next token out.

        `input_ids`, (rows,), are the tokens that the rows were fed last.
        """
        self.raw = scores if self.wants_logprobs or not self.can_skip else None
        arguments = logits_processor_args[: self.ARGUMENTS, : scores.size(0)]
        floats = arguments[: len(self.FLOATS)].contiguous().view(torch.float32).unsqueeze(-1)
        temperature, top_p, min_p, presence, frequency, repetition = floats
        top_k, seed_low, seed_high, position, slot, is_answer = arguments[len(self.FLOATS) :].to(torch.int64)
        if self._penalised or not self.can_skip:
            self.tables.count(slot, input_ids.to(torch.int64), is_answer)
            scores = self.tables.apply(scores, slot, presence, frequency, repetition)
        if not self._sampled and self.can_skip:
            return scores
        scaled = scores / torch.where(temperature > 0, temperature, 1.0)
        filters = Filters(top_p, min_p, top_k.unsqueeze(-1))
        noise = Noise(*(one.unsqueeze(-1) for one in (seed_low, seed_high, position)))
        if not self.can_skip:
            return torch.where(temperature > 0, perturbed(scaled, filters, noise), scores)
        sampled = temperature.squeeze(-1) > 0
        is_filtered = filters.are_on() & sampled
        chosen = scores.clone()
        for rows, perturb in ((is_filtered, perturbed_few), (sampled & ~is_filtered, perturbed_all)):
            if rows.any():
                chosen[rows] = perturb(scaled[rows], filters.of(rows), noise.of(rows))
        return chosen

    def _columns(self, params: Sequence[SamplingParams], places: Sequence[Sequence[int]]) -> Tensor:
        """The arguments of these rows, (arguments, rows) int32; `places` has position, slot and is_answer of each."""
        params = [param if param.temperature >= COLDEST else replace(param, temperature=0.0) for param in params]
        floats = torch.tensor([[getattr(param, name) for param in params] for name in self.FLOATS])
        integers = [
            [param.top_k for param in params],
            [_int32(param.seed) for param in params],
            [_int32(param.seed >> 32) for param in params],
            *zip(*places, strict=True),
        ]
        return torch.cat([floats.view(torch.int32), torch.tensor(integers, dtype=torch.int32)])


def _place(state: RequestState, entry: BatchEntry) -> tuple[int, int, int]:
    """The position of a request's next token, its slot, and 1 where its last token is one of the answer."""
    return state.position_offset, entry.slot, int(state.position_offset > entry.prompt_tokens)


def _answer_ids(state: RequestState) -> list[int]:
    """The answer so far; a request that lost its cache blocks has the first part of it among its initial tokens."""
    kept: list[int] = state.initial_tokens[state._true_initial_tokens :] if state._true_initial_tokens else []
    kept += state.generated_tokens
    return kept


def log_probabilities(raw: Tensor, chosen: Tensor) -> Tensor:
    """(1 + 2 × 20, rows) int32: the bits of the chosen tokens' log-probabilities, the most probable ids, their bits.

    `raw` (rows, vocab) logits, `chosen` (rows,) token ids.
    """
    total = raw.logsumexp(dim=-1, keepdim=True)
    own = raw.gather(-1, chosen.unsqueeze(-1)) - total
    top, ids = raw.topk(min(MAX_LOGPROBS, raw.size(-1)), dim=-1)
    bits = torch.cat([own, top - total], dim=-1).view(torch.int32)
    return torch.cat([bits[:, :1], ids.to(torch.int32), bits[:, 1:]], dim=-1).T


def _int32(value: int) -> int:
    """The low 32 bits of `value` as a signed integer."""
    return ((value & UINT32) ^ 0x80000000) - 0x80000000

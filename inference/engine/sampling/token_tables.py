"""Tables for the choice of a token, by slot: prompt tokens, counts of answer tokens, biases, allowed tokens."""

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.interface import EngineBusy, InvalidSampling, SamplingParams

MAX_BIASES = 300


def check_biases(sampling: SamplingParams, vocab: int) -> None:
    """Raise InvalidSampling where `logit_bias` is not of tokens of a model with `vocab` logits, or of too many."""
    if len(sampling.logit_bias) > MAX_BIASES:
        raise InvalidSampling(f"logit_bias has {len(sampling.logit_bias)} tokens: expected at most {MAX_BIASES}")
    for token_id, _ in sampling.logit_bias:
        if not 0 <= token_id < vocab:
            raise InvalidSampling(f"logit_bias: token {token_id} is out of range: this model has {vocab}")


class TokenTables:
    """Tables of fixed size and address, so that a captured CUDA graph reads later writes.

    A request that needs the tables has a slot from its submission to its end; all other requests share slot 0.
    """

    def __init__(self, slots: int, vocab: int, device: torch.device) -> None:
        self.vocab = vocab
        self.prompted = torch.zeros(slots, vocab, dtype=torch.bool, device=device)
        self.counts = torch.zeros(slots, vocab, dtype=torch.int16, device=device)
        self.bias_ids = torch.zeros(slots, MAX_BIASES, dtype=torch.int64, device=device)
        self.biases = torch.zeros(slots, MAX_BIASES, device=device)
        self.allowed = torch.ones(slots, vocab, dtype=torch.bool, device=device)
        self._free = list(range(slots - 1, 0, -1))
        self._lock = threading.Lock()

    def acquire(self, sampling: SamplingParams, prompt_ids: list[int], *, is_constrained: bool = False) -> int:
        """The slot of a new request. Raises InvalidSampling or EngineBusy."""
        if not (sampling.needs_tables or is_constrained):
            return 0
        check_biases(sampling, self.vocab)
        with self._lock:
            if not self._free:
                raise EngineBusy("too many requests with penalties, biases or schemas are waiting: try again later")
            slot = self._free.pop()
        self._write(slot, sampling, prompt_ids)
        return slot

    def release(self, slot: int) -> None:
        if slot:
            with self._lock:
                self._free.append(slot)

    def _write(self, slot: int, sampling: SamplingParams, prompt_ids: list[int]) -> None:
        device = self.counts.device
        for table in (self.prompted, self.counts, self.bias_ids, self.biases):
            table[slot].zero_()
        self.allowed[slot] = True
        self.prompted[slot, torch.tensor(prompt_ids, device=device)] = True
        if sampling.logit_bias:
            ids, biases = zip(*sampling.logit_bias, strict=True)
            self.bias_ids[slot, : len(ids)] = torch.tensor(ids, device=device)
            self.biases[slot, : len(ids)] = torch.tensor(biases, device=device)
        self._written()

    def allow(self, slot: int, tokens: NDArray[np.bool_]) -> None:
        """Allow only `tokens`, (vocab,) bool, as the next token of the answer in `slot`."""
        self.allowed[slot] = torch.from_numpy(tokens).to(self.allowed.device)
        self._written()

    def _written(self) -> None:
        if self.counts.is_cuda:
            torch.cuda.current_stream().synchronize()  # the engine's stream must see the write

    def count(self, slots: Tensor, token_ids: Tensor, times: Tensor) -> None:
        """Count a token of each row's answer, (rows,) each; `times` is 0 for a token of the prompt, else 1."""
        self.counts.index_put_((slots, token_ids), times.to(torch.int16), accumulate=True)

    def apply(self, scores: Tensor, slots: Tensor, presence: Tensor, frequency: Tensor, repetition: Tensor) -> Tensor:
        """`scores` (rows, vocab) with penalties and biases, -inf where a token may not come next.

        `slots` (rows,), the penalties (rows, 1).
        """
        counts = self.counts[slots]
        made = counts > 0
        repeated = torch.where(scores > 0, scores / repetition, scores * repetition)
        penalised = torch.where(made | self.prompted[slots], repeated, scores)
        penalised = penalised - frequency * counts - presence * made
        biased = penalised.scatter_add(1, self.bias_ids[slots], self.biases[slots])
        return biased.masked_fill(~self.allowed[slots], -torch.inf)

"""Forward passes over whole prompts, for the hidden states and the logits that the engine's batch does not keep."""

import base64
import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import chain

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.engine.steering.passes import PassSteering, SteeredPasses, seats_of
from inference.interface import ContextLengthExceeded

CHUNK_TOKENS = 256
BATCH_TOKENS = 8192

Logprobs = tuple[float, list[tuple[int, float]]]
"""The log-probability of a token, and (token id, log-probability) of the most probable ones in its place."""


class PromptReader:
    """Embeddings of texts and log-probabilities of prompts by `model`, beside the engine that serves it.

    The modules are a copy that shares the weights, so that the engine's hooks and attention are not in it: make the
    reader before the engine takes the model over. One batch runs at a time, so that memory is bounded: hold `lock` for
    a forward pass of `model`.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
        self.model = copy.deepcopy(model, shared)
        self.context_length = int(model.config.get_text_config().max_position_embeddings)
        self.lock = threading.Lock()

    @torch.no_grad()
    def embeddings(self, texts: Sequence[Sequence[int]]) -> Iterator[list[tuple[int, str]]]:
        """(index, embedding) of each text of token ids, a batch at a time, in the order of their lengths.

        An embedding is the mean over the text's tokens of the last hidden state, unsteered: (d_model,) float32,
        little-endian, in base64. Raises ContextLengthExceeded.
        """
        for text in texts:
            self._check(text, "input")
        for batch in batches_of_like_length(texts, BATCH_TOKENS):
            with self.lock:
                means = self._means([texts[index] for index in batch])
            rows = means.to("cpu", torch.float32).numpy().astype("<f4")
            yield [(index, base64.b64encode(row.tobytes()).decode()) for index, row in zip(batch, rows, strict=True)]

    @torch.no_grad()
    def prompt_logprobs(self, ids: Sequence[int], steering: PassSteering | None, top: int) -> list[Logprobs]:
        """The log-probability of each token of a prompt but the first, with `top` alternatives each.

        Raises ContextLengthExceeded, and what reading the weights of the steering raises.
        """
        self._check(ids, "prompt")
        found: list[Logprobs] = []
        cache = None
        passes = SteeredPasses(self.model, steering) if steering else None
        with seats_of(passes, [len(ids)]) as seats, self.lock:
            for start in range(0, len(ids) - 1, CHUNK_TOKENS):
                tokens = ids[start : start + CHUNK_TOKENS]
                with passes.steering(seats, [tokens], start) if passes else nullcontext():
                    chunk = torch.tensor([tokens], device=self.model.device)
                    output = self.model(input_ids=chunk, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                following = ids[start + 1 : start + 1 + CHUNK_TOKENS]
                found += _logprobs(output.logits[0, : len(following)].float(), following, top)
        return found

    def _check(self, ids: Sequence[int], param: str) -> None:
        if len(ids) > self.context_length:
            raise ContextLengthExceeded(self.context_length, f"your {param} resulted in {len(ids)} tokens", param)

    def _means(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """The mean hidden state of each text, (texts, d_model).

        The texts are padded on the right, where causal attention does not look.
        """
        longest = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts], device=self.model.device)
        lengths = torch.tensor([len(text) for text in texts], device=ids.device)
        mask = torch.arange(longest, device=ids.device) < lengths.unsqueeze(1)
        hidden = self.model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
        summed = (hidden.float() * mask.unsqueeze(-1)).sum(dim=1)
        means: Tensor = summed / lengths.unsqueeze(1)
        return means


def batches_of_like_length(texts: Sequence[Sequence[int]], tokens: int) -> Iterator[list[int]]:
    """The indices of the texts in batches of similar length, of up to `tokens` tokens with padding, or of one text."""
    batch: list[int] = []
    for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
        if batch and (len(batch) + 1) * len(texts[index]) > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _logprobs(logits: Tensor, chosen: Sequence[int], top: int) -> list[Logprobs]:
    """The log-probabilities of the `chosen` tokens by `logits`, (tokens, vocab)."""
    logprobs = logits.log_softmax(dim=-1)
    own = logprobs.gather(1, torch.tensor(chosen, device=logits.device).unsqueeze(1)).squeeze(1).tolist()
    values, ids = logprobs.topk(min(top, logits.size(-1)), dim=-1)
    others = [list(zip(*row, strict=True)) for row in zip(ids.tolist(), values.tolist(), strict=True)]
    return list(zip(own, others, strict=True))

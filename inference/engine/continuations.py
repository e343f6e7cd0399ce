"""The log-probabilities of continuations of a prompt, teacher-forced: of answers, and of single words."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from inference.engine import cores
from inference.engine.prompt_reader import CHUNK_TOKENS, PromptReader
from inference.engine.steering.passes import PassSteering, SteeredPasses, seats_of
from inference.engine.steering.seat import Seat
from inference.interface import ContextLengthExceeded


class Continuations:
    """Reads continuations with the model of `reader`, which takes turns with its other users after each pass."""

    def __init__(self, reader: PromptReader) -> None:
        self._reader = reader

    def logprobs(
        self, prompt: Sequence[int], continuations: Sequence[Sequence[int]], steering: PassSteering | None = None
    ) -> list[list[float]]:
        """The log-probability of each token of each continuation, given `prompt` and the tokens before it.

        All are lists of token ids; the prompt has at least one. The tokens after the prompt are an answer for the
        positions of `steering`. The prompt is read once, except under a condition, or where calls and the reasoning are
        not steered: what held in one continuation must not hold in the next one.

        Raises ContextLengthExceeded, and what reading the weights of the steering raises.
        """
        longest = max(map(len, continuations), default=0)
        if (tokens := len(prompt) + longest) > (most := self._reader.context_length):
            raise ContextLengthExceeded(most, f"prompt and continuation have {tokens} tokens", "prompt")
        is_apart = steering and any(part.when or part.has_regions for part in steering.spec.parts)
        groups = [[one] for one in continuations] if is_apart else [[*continuations]]
        return cores.with_all(lambda: [found for group in groups for found in self._of_group(prompt, group, steering)])

    @torch.no_grad()
    def _of_group(
        self, prompt: Sequence[int], group: Sequence[Sequence[int]], steering: PassSteering | None
    ) -> list[list[float]]:
        passes = SteeredPasses(self._reader.model, steering) if steering else None
        with seats_of(passes, [len(prompt)]) as seats:
            reading = _Reading(self._reader, passes, seats)
            first = reading.read(prompt)[-1:]
            return [_of_chosen(first, ids[:1]) + reading.copied().rest(ids) if ids else [] for ids in group]


class _Reading:
    """A text that is read a chunk at a time; `position` tokens of it are in `cache`."""

    def __init__(
        self,
        reader: PromptReader,
        passes: SteeredPasses | None,
        seats: Sequence[Seat],
        cache: Cache | None = None,
        position: int = 0,
    ) -> None:
        self._reader, self._passes, self._seats = reader, passes, seats
        self._cache = DynamicCache(config=reader.model.config) if cache is None else cache
        self._position = position

    def copied(self) -> "_Reading":
        """The same text, with a cache of its own."""
        return _Reading(self._reader, self._passes, self._seats, copy.deepcopy(self._cache), self._position)

    def read(self, ids: Sequence[int]) -> Tensor:
        """Read `ids` next; returns the logits after each of the last chunk, (tokens, vocab) float32."""
        for start in range(0, len(ids), CHUNK_TOKENS):
            logits = self._pass(ids[start : start + CHUNK_TOKENS])
        return logits

    def rest(self, ids: Sequence[int]) -> list[float]:
        """Read all `ids` but the last; returns the log-probabilities of all but the first."""
        found: list[float] = []
        for start in range(0, len(ids) - 1, CHUNK_TOKENS):
            following = ids[start + 1 : start + 1 + CHUNK_TOKENS]
            found += _of_chosen(self._pass(ids[start : start + len(following)]), following)
        return found

    def _pass(self, ids: Sequence[int]) -> Tensor:
        """The logits after each of `ids`, (tokens, vocab) float32."""
        passes, model = self._passes, self._reader.model
        steered = passes.steering(self._seats, [ids], self._position) if passes else nullcontext()
        with self._reader.lock, steered:
            chunk = torch.tensor([ids], device=model.device)
            logits = model(input_ids=chunk, past_key_values=self._cache, use_cache=True).logits[0].float()
        self._position += len(ids)
        return logits  # type: ignore[no-any-return]


def _of_chosen(logits: Tensor, ids: Sequence[int]) -> list[float]:
    """The log-probability of each of `ids` by its row of `logits`, (tokens, vocab)."""
    chosen = torch.tensor(ids, device=logits.device).unsqueeze(1)
    found: list[float] = logits.log_softmax(dim=-1).gather(1, chosen).squeeze(1).tolist()
    return found

"""The residual stream of texts at a hook point.

Runs forward passes outside the batch, which stop at the layer of the hook point. A pass has at most PASS_TOKENS tokens,
so that chats wait for the device only briefly.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, PreTrainedModel

from inference.engine.layers import change_at
from inference.engine.prompt_reader import batches_of_like_length
from inference.engine.steering.passes import PassSteering, SteeredPasses, seats_of
from inference.engine.steering.seat import Seat
from steering.architectures import parse_hook_name

PASS_TOKENS = 256
"""Tokens of one forward pass, padding included."""

Stage = Literal["before", "after"]
"""Whether the residual stream is read before or after the steering at the same hook point is added."""


@dataclass(frozen=True)
class Steering:
    """A steering under which texts are read.

    `prompt_tokens` is the length of each text's prompt, of which the rest is the answer; None is all of it.
    """

    of_passes: PassSteering
    stage: Stage = "after"
    prompt_tokens: int | None = None


class _HookPointReached(Exception):
    """The rest of the forward pass is not needed."""


class ResidualReader:
    """Reads texts with `model` at the hook point `hook_name`.

    `model` is one that no engine has taken over; `lock` keeps others from a forward pass of it at the same time.
    """

    def __init__(self, model: PreTrainedModel, hook_name: str, lock: threading.Lock) -> None:
        self._model, self._lock = model, lock
        self._hook = parse_hook_name(hook_name)

    @torch.no_grad()
    def residual_streams(
        self,
        texts: Sequence[Sequence[int]],
        steering: Steering | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, int, Tensor]]:
        """(index of a text, position of the first token, residual stream (tokens, d_model)) of all tokens.

        Those of one text come in order. It ends early once `stop()`, which is asked before each forward pass.
        """
        passes = SteeredPasses(self._model, steering.of_passes, PASS_TOKENS) if steering else None
        stage = steering.stage if steering else "after"
        for batch in batches_of_like_length(texts, PASS_TOKENS):
            own = [texts[index] for index in batch]
            prompts = [
                len(one) if not steering or steering.prompt_tokens is None else steering.prompt_tokens for one in own
            ]
            with seats_of(passes, prompts) as seats:
                run = partial(self._pass, passes, seats, stage)
                if len(batch) == 1:
                    yield from self._long(batch[0], own[0], run, stop)
                    continue
                if stop():
                    return
                longest = max(map(len, own))
                # Padded on the right, where causal attention does not look.
                streams = run([[*one, *[0] * (longest - len(one))] for one in own])
            for index, stream in zip(batch, streams, strict=True):
                yield index, 0, stream[: len(texts[index])]

    def _long(
        self, index: int, ids: Sequence[int], run: Callable[..., Tensor], stop: Callable[[], bool]
    ) -> Iterator[tuple[int, int, Tensor]]:
        """One text, PASS_TOKENS at a time: each pass attends to the keys and values of those before."""
        cache = DynamicCache(config=self._model.config) if len(ids) > PASS_TOKENS else None
        for start in range(0, len(ids), PASS_TOKENS):
            if stop():
                return
            yield index, start, run([ids[start : start + PASS_TOKENS]], start, cache)[0]

    def _pass(
        self,
        passes: SteeredPasses | None,
        seats: Sequence[Seat],
        stage: Stage,
        ids: Sequence[Sequence[int]],
        start: int = 0,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        """The residual stream at the hook point, (texts, tokens, d_model), of one forward pass that stops there."""
        read: list[Tensor] = []

        def take(stream: Tensor) -> Tensor | None:
            read.append(stream)
            raise _HookPointReached

        def reads() -> AbstractContextManager[None]:
            return _until_exit(change_at(self._model, *self._hook, take))

        def steers() -> AbstractContextManager[None]:
            return passes.steering(seats, ids, start) if passes else nullcontext()

        inputs = torch.tensor(ids, device=self._model.device)
        # Hooks of one hook point run in the order of their registration, which decides what `take` sees.
        order = (steers, reads) if stage == "after" else (reads, steers)
        with self._lock, order[0](), order[1](), suppress(_HookPointReached):
            self._model.base_model(input_ids=inputs, past_key_values=cache, use_cache=cache is not None)
        return read[0]


@contextmanager
def _until_exit(handle: RemovableHandle) -> Iterator[None]:
    with handle:
        yield

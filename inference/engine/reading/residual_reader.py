"""The residual stream of texts at a hook point.

Runs forward passes outside the batch, which stop at the layer of the hook point. A pass has at most PASS_TOKENS tokens,
so that chats wait for the device only briefly.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from inference.engine.hooks import steered
from inference.engine.layers import change_at
from inference.engine.prompt_reader import batches_of_like_length
from steering.architectures import parse_hook_name
from steering.spec import SteeringSpec

PASS_TOKENS = 256
"""Tokens of one forward pass, padding included."""

Stage = Literal["before", "after"]
"""Whether the residual stream is read before or after the steering at the same hook point is added."""


@dataclass(frozen=True)
class Steering:
    """A steering under which texts are read: its spec with its vector, (d_model,) float32."""

    spec: SteeringSpec
    vector: Tensor
    stage: Stage = "after"


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
        for batch in batches_of_like_length(texts, PASS_TOKENS):
            if len(batch) == 1:
                yield from self._long(batch[0], texts[batch[0]], steering, stop)
                continue
            if stop():
                return
            longest = max(len(texts[index]) for index in batch)
            # Padded on the right, where causal attention does not look.
            ids = [[*texts[index], *[0] * (longest - len(texts[index]))] for index in batch]
            streams = self._pass(ids, steering)
            for index, stream in zip(batch, streams, strict=True):
                yield index, 0, stream[: len(texts[index])]

    def _long(
        self, index: int, ids: Sequence[int], steering: Steering | None, stop: Callable[[], bool]
    ) -> Iterator[tuple[int, int, Tensor]]:
        """One text, PASS_TOKENS at a time: each pass attends to the keys and values of those before."""
        cache = DynamicCache(config=self._model.config) if len(ids) > PASS_TOKENS else None
        for start in range(0, len(ids), PASS_TOKENS):
            if stop():
                return
            yield index, start, self._pass([ids[start : start + PASS_TOKENS]], steering, cache)[0]

    def _pass(
        self, ids: Sequence[Sequence[int]], steering: Steering | None, cache: DynamicCache | None = None
    ) -> Tensor:
        """The residual stream at the hook point, (texts, tokens, d_model), of one forward pass that stops there."""
        read: list[Tensor] = []

        def take(stream: Tensor) -> Tensor | None:
            read.append(stream)
            raise _HookPointReached

        inputs = torch.tensor(ids, device=self._model.device)
        with self._lock, self._hooks(take, steering), suppress(_HookPointReached):
            self._model.base_model(input_ids=inputs, past_key_values=cache, use_cache=cache is not None)
        return read[0]

    @contextmanager
    def _hooks(self, take: Callable[[Tensor], Tensor | None], steering: Steering | None) -> Iterator[None]:
        """Hooks of one hook point run in the order of their registration, which decides what `take` sees."""
        with ExitStack() as hooks:
            if steering and steering.stage == "after":
                hooks.enter_context(steered(self._model, steering.spec, steering.vector))
            hooks.callback(change_at(self._model, *self._hook, take).remove)
            if steering and steering.stage == "before":
                hooks.enter_context(steered(self._model, steering.spec, steering.vector))
            yield

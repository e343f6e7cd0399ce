"""Reading: the features that fire on texts at the hook point of an SAE."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from inference.engine.reading.residual_reader import PASS_TOKENS as PASS_TOKENS
from inference.engine.reading.residual_reader import ResidualReader
from inference.engine.reading.residual_reader import Stage as Stage
from inference.engine.reading.residual_reader import Steering as Steering
from inference.engine.saes.encoders import Encoder

ACTIVATIONS = 2**23
"""Activations in memory at a time: 32 MiB of float32."""


@dataclass(frozen=True)
class Text:
    """A text of token ids, and of each token whether it counts: special tokens and questions usually do not."""

    ids: Sequence[int]
    counts: Sequence[bool]


@dataclass(frozen=True)
class Chunk:
    """Neighbouring tokens of one text, on the device of the encoder."""

    text: int
    start: int
    """The position of the first token in the text."""
    stream: Tensor
    """The residual stream at the hook point, (tokens, d_model) float32."""
    activations: Tensor
    """Those of the features, (tokens, d_sae)."""


@dataclass(frozen=True)
class Span:
    """Neighbouring tokens of one text in a block."""

    text: int
    start: int
    """The position of the first token in the text."""
    tokens: int


@dataclass(frozen=True)
class Block:
    """Tokens of several texts, of which the activations were computed at once; the spans of a text come in order."""

    spans: list[Span]
    stream: Tensor
    """The residual stream at the hook point, (tokens, d_model) float32."""
    activations: Tensor
    """Those of the features, (tokens, d_sae)."""

    def chunks(self) -> Iterator[Chunk]:
        """The chunk of each span."""
        sizes = [span.tokens for span in self.spans]
        parts = zip(self.spans, self.stream.split(sizes), self.activations.split(sizes), strict=True)
        for span, stream, activations in parts:
            yield Chunk(span.text, span.start, stream, activations)


class FeatureReader(ResidualReader):
    """Reads texts with `model` through `encoder`: see `ResidualReader`."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, lock: threading.Lock) -> None:
        super().__init__(model, encoder.config.hook_name, lock)
        self.encoder = encoder

    def chunks(
        self,
        texts: Sequence[Sequence[int]],
        steering: Steering | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Chunk]:
        """The activations of all tokens of `texts`, token ids; those of one text come in order.

        It ends early once `stop()`, which is asked before each forward pass.
        """
        for block in self.blocks(texts, steering, stop):
            yield from block.chunks()

    @torch.no_grad()
    def blocks(
        self,
        texts: Sequence[Sequence[int]],
        steering: Steering | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Block]:
        """The same as blocks of up to PASS_TOKENS tokens: the encoder reads its weights once for a block."""
        rows = min(PASS_TOKENS, max(1, ACTIVATIONS // self.encoder.config.d_sae))
        spans: list[Span] = []
        streams: list[Tensor] = []
        room = rows
        for text, start, stream in self.residual_streams(texts, steering, stop):
            for offset in range(0, len(stream), rows):
                part = stream[offset : offset + rows].float()
                if len(part) > room:
                    yield self._block(spans, streams)
                    spans, streams, room = [], [], rows
                spans.append(Span(text, start + offset, len(part)))
                streams.append(part)
                room -= len(part)
        if spans:
            yield self._block(spans, streams)

    def _block(self, spans: list[Span], streams: list[Tensor]) -> Block:
        stream = torch.cat(streams)
        return Block(spans, stream, self.encoder.encode(stream))

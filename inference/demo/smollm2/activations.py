"""The residual stream of the model over texts, in shards on disk, so that a training goes on after an interruption."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.demo.smollm2.texts import SOURCES, Document

CONTEXT = 192
"""Tokens of a row that are read; longer documents are cut."""
PASS = 2048
"""Tokens in one pass of the model, at most, with those that fill the shorter rows up."""
SHARD = 65_536
"""Tokens whose activations one shard has, at least."""
OWN_SHARE = 0.2
"""The most that the model's own answers are of all tokens."""
CUT = 6.0
"""A token whose residual stream is longer than so many medians is left out: it is a sink of the attention."""


class Rows:
    """Documents as rows of token ids: as they are, or as an answer in a chat."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        pairs = zip(self._chat("one"), self._chat("Two"), strict=False)
        self._system = next(number for number, (one, two) in enumerate(pairs) if one != two)

    def of(self, document: Document) -> tuple[list[int], int]:
        """The token ids, and the position of the first one whose activations count."""
        text: list[int] = self._tokenizer(document.text, add_special_tokens=False)["input_ids"]
        if not document.question:
            return text[:CONTEXT], 1
        # The system prompt is the same in all rows: its activations would be copies.
        return [*self._chat(document.question), *text][: CONTEXT + self._system], self._system

    def answer(self, document: Document) -> tuple[list[int], int]:
        """The token ids of a chat, and the position of the first token of its answer."""
        chat = self._chat(document.question)
        text: list[int] = self._tokenizer(document.text, add_special_tokens=False)["input_ids"]
        return [*chat, *text], len(chat)

    def _chat(self, question: str) -> list[int]:
        chat = [{"role": "user", "content": question}]
        ids: list[int] = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        return ids


def mixture(own: Sequence[Document], seed: int, *, held_out: bool = False) -> Iterator[Document]:
    """Documents of all sources in turn, each with its share of the characters, without an end.

    Those that are held out are in no other mixture.

    A source that has no more begins again.
    """
    rng = random.Random(seed)
    shuffled = list(own)
    rng.shuffle(shuffled)
    documents = [shuffled, *(source.documents(rng, held_out=held_out) for source in SOURCES)]
    shares = [OWN_SHARE, *((1 - OWN_SHARE) * source.share for source in SOURCES)]
    given, next_of = [0.0] * len(shares), [0] * len(shares)
    while True:
        behind = min(range(len(shares)), key=lambda number: given[number] / shares[number])
        document = documents[behind][next_of[behind] % len(documents[behind])]
        next_of[behind] += 1
        given[behind] += min(len(document.text), 4 * CONTEXT)
        yield document


class ResidualStream:
    """The residual stream after block `layer`. The blocks after it are not computed."""

    def __init__(self, model: PreTrainedModel, layer: int) -> None:
        self._base = model.base_model
        self._base.layers = self._base.layers[: layer + 1]
        self._rows: Tensor | None = None
        self._base.layers[layer].register_forward_hook(self._take)

    def _take(self, module: object, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        self._rows = output if isinstance(output, Tensor) else output[0]

    @torch.inference_mode()
    def of(self, rows: Sequence[tuple[list[int], int]]) -> Tensor:
        """(tokens, d_model) float32, of the tokens that count."""
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in rows])
        self._base(ids, use_cache=False)  # what is behind the end of a row is not seen by what is before it
        assert self._rows is not None
        return torch.cat(
            [found[start : len(ids)] for found, (ids, start) in zip(self._rows, rows, strict=True)]
        ).float()


def collect(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    layer: int,
    own: Sequence[Document],
    tokens: int,
) -> list[Path]:
    """Write shards of at least `tokens` activations in all into `folder`, float16; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    stream, rows, documents = ResidualStream(model, layer), Rows(tokenizer), mixture(own, seed=layer)
    shards: list[Path] = []
    with tqdm(total=tokens, desc=f"activations of layer {layer}", unit=" tokens", mininterval=10) as progress:
        while progress.n < tokens:
            path = folder / f"{len(shards):04}.npy"
            batch = _next_rows(rows, documents)
            if not path.exists():
                _write(path, [stream.of(some) for some in _passes(batch)])
            shards.append(path)
            progress.update(sum(len(ids) - start for ids, start in batch))
    return shards


def _next_rows(rows: Rows, documents: Iterator[Document]) -> list[tuple[list[int], int]]:
    """The rows of the next shard, those of about one length together."""
    found, tokens = [], 0
    while tokens < SHARD:
        ids, start = rows.of(next(documents))
        if len(ids) > start + 8:
            found.append((ids, start))
            tokens += len(ids) - start
    return sorted(found, key=lambda row: len(row[0]))


def _passes(batch: list[tuple[list[int], int]]) -> Iterator[list[tuple[list[int], int]]]:
    """The rows, which are in order of length, by passes of the model."""
    some: list[tuple[list[int], int]] = []
    for row in batch:
        if some and len(row[0]) * (len(some) + 1) > PASS:
            yield some
            some = []
        some.append(row)
    yield some


def _write(path: Path, parts: list[Tensor]) -> None:
    activations = torch.cat(parts)
    norms = activations.norm(dim=-1)
    kept = activations[norms < CUT * norms.median()]
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, kept.to(torch.float16).numpy())
    partial.rename(path)

"""Picks each topic's features and strengths by measurement: as strong as the grammar of the answers allows."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from inference.demo.tiny.grammar import HELD_OUT_PROMPTS, TOPICS
from inference.demo.tiny.language_model import answers, turn
from inference.demo.tiny.measure import Shares, shares
from inference.demo.tiny.sae import TopKSAE

COUNTS, SCALES = (2, 4, 8, 12), (0.4, 0.6, 0.8, 1.0)
SAMPLES = 48


@dataclass(frozen=True)
class Pick:
    """The features of a profile and what they measured."""

    strengths: dict[int, float]
    measured: Shares

    @property
    def score(self) -> float:
        """The smaller of the two margins above what `check_demo` wants."""
        return min(self.measured.on_topic - 0.8, self.measured.well_formed - 0.7)


@dataclass(frozen=True)
class Streams:
    """Tokens of answers to prompts that name a topic, (tokens,), and the residual stream there, (tokens, d_model)."""

    tokens: Tensor
    residuals: Tensor


@torch.no_grad()
def record(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, layer: int, rng: random.Random, per_topic: int
) -> dict[str, Streams]:
    """The tokens of each topic's answers and the residual stream after block `layer`."""
    found, assistant = {}, tokenizer.convert_tokens_to_ids("<|assistant|>")
    for topic in TOPICS:
        tokens, rows = [], []
        for _ in range(per_topic):
            text = tokenizer.apply_chat_template(turn(topic, rng, names_topic=True), tokenize=False)
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            start = int((ids[0] == assistant).nonzero()[0])
            tokens.append(ids[0, start:])
            rows.append(model(ids, output_hidden_states=True).hidden_states[layer + 1][0, start:])
        found[topic] = Streams(torch.cat(tokens), torch.cat(rows))
    return found


def at_own_words(streams: Mapping[str, Streams]) -> dict[str, Tensor]:
    """The rows at the tokens that not all topics have in common."""
    common = set.intersection(*(set(stream.tokens.tolist()) for stream in streams.values()))
    everywhere = torch.tensor(sorted(common))
    return {topic: stream.residuals[~torch.isin(stream.tokens, everywhere)] for topic, stream in streams.items()}


def held_out(count: int) -> list[str]:
    return [HELD_OUT_PROMPTS[i % len(HELD_OUT_PROMPTS)] for i in range(count)]


def difference(streams: Mapping[str, Tensor], topic: str) -> Tensor:
    """The mean of a topic's rows less the mean of all the others'."""
    others = torch.cat([rows for name, rows in streams.items() if name != topic])
    return streams[topic].mean(0) - others.mean(0)


def measure(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, layer: int, topic: str, vector: Tensor | None
) -> Shares:
    """Shares of sampled answers to held-out neutral prompts under `vector`."""
    return shares(answers(model, tokenizer, held_out(SAMPLES), layer, vector), topic)


def pick_features(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    sae: TopKSAE,
    layer: int,
    streams: Mapping[str, Streams],
) -> dict[str, Pick]:
    """The best features and strengths of each topic, among its `count` most distinctive features times `scale`."""
    with torch.no_grad():
        activations = {topic: sae.encode(rows) for topic, rows in at_own_words(streams).items()}
    picks = {}
    for topic in tqdm(TOPICS, desc="profiles"):
        gaps = difference(activations, topic)
        candidates = [strengths_of(gaps, count, scale) for count, scale in product(COUNTS, SCALES)]
        measured = [
            Pick(strengths, measure(model, tokenizer, layer, topic, steer(sae, strengths))) for strengths in candidates
        ]
        picks[topic] = max(measured, key=lambda pick: pick.score)
    return picks


def strengths_of(gaps: Tensor, count: int, scale: float) -> dict[int, float]:
    """The `count` features with the widest gaps, each with `scale` times its gap, rounded to be read."""
    values, indices = gaps.topk(count)
    return {int(i): round(scale * float(v), 2) for v, i in zip(values, indices, strict=True) if v > 0}


def steer(sae: TopKSAE, strengths: Mapping[int, float]) -> Tensor:
    rows: Sequence[Tensor] = [strength * sae.W_dec[index] for index, strength in strengths.items()]
    return torch.stack(list(rows)).sum(0).detach()

"""Steering-aware training: the demo model learns to speak well while it is steered.

A model this small has no spare width: adding the direction of a topic's words to its residual stream moves
it onto the topic and breaks its grammar at once. So for its last steps half of the turns are trained under a
hint: the running mean of the residual stream at the topic's words, less the mean at all topics' words, times a
random strength, added at every token of the turn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from inference.demo.tiny.grammar import TOPICS

STRONGEST = 1.3
DECAY = 0.95


class TopicHints:
    """Hints after block `layer` while training; `set_batch` comes before each forward pass."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, layer: int) -> None:
        self.block = model.model.layers[layer]
        self.means = torch.zeros(len(TOPICS), model.config.hidden_size)
        self.topic_of_token = _topic_of_token(tokenizer)
        self.words = torch.empty(0)
        self.strengths = torch.empty(0)
        self.topics = torch.empty(0)

    def set_batch(self, ids: Tensor, topics: Tensor) -> None:
        """The token ids and topic numbers, both (batch, seq), of the next forward pass."""
        self.words, self.topics = self.topic_of_token[ids], topics
        # One draw a conversation row and topic: a turn is hinted as a whole, or not at all.
        draw = torch.rand(len(ids), len(TOPICS)) * STRONGEST * (torch.rand(len(ids), len(TOPICS)) < 0.5)
        self.strengths = draw.gather(1, topics.clamp(min=0)) * (topics >= 0)

    @contextmanager
    def active(self) -> Iterator["TopicHints"]:
        handle = self.block.register_forward_hook(self._add)
        try:
            yield self
        finally:
            handle.remove()

    def _add(self, _block: Any, _args: Any, output: Tensor) -> Tensor:
        self._update_means(output.detach())
        hints = self.means - self.means.mean(0)
        return output + self.strengths.unsqueeze(-1) * hints[self.topics.clamp(min=0)]

    def _update_means(self, rows: Tensor) -> None:
        for topic in range(len(TOPICS)):
            mean = rows[self.words == topic].mean(0)
            old = self.means[topic]
            self.means[topic] = mean if not old.any() else DECAY * old + (1 - DECAY) * mean


def _topic_of_token(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """The number of the topic of each token that is a whole topic word, else -1; (vocab,)."""
    found = torch.full((len(tokenizer),), -1)
    for number, topic in enumerate(TOPICS.values()):
        for word in topic.words():
            for text in (word, f" {word}"):
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                if len(ids) == 1:
                    found[ids[0]] = number
    return found

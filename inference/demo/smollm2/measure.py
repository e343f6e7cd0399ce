"""What a steering does to answers: the share on the theme, their perplexity, and how much they repeat themselves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from inference.demo.smollm2.answers import Answer
from inference.demo.smollm2.words import ThemeWords
from inference.sweeps.effects import repeats as repeats

AT_ONCE = 16


@dataclass(frozen=True)
class Measured:
    """Shares are 0 to 1; `perplexity` is the unsteered model's, of the tokens of all answers together."""

    on_theme: float
    perplexity: float
    repeats: float


def measured(answers: Sequence[Answer], words: ThemeWords, plain: PreTrainedModel) -> Measured:
    """Measure answers, some of which may be empty; `plain` is a model without hooks."""
    texts = [answer.text for answer in answers]
    return Measured(words.share(texts), perplexity(plain, answers), sum(map(repeats, texts)) / len(texts))


@torch.inference_mode()
def perplexity(plain: PreTrainedModel, answers: Sequence[Answer]) -> float:
    """exp of the mean negative log-probability of all tokens of the answers, each after its prompt."""
    rows = sorted(([*a.prompt_ids, *a.ids], len(a.prompt_ids)) for a in answers if a.ids)
    rows.sort(key=lambda row: len(row[0]))
    total, tokens = 0.0, 0
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        longest = max(len(ids) for ids, _ in some)
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row, _ in some])
        hidden = plain.base_model(ids, use_cache=False).last_hidden_state
        for states, (row, begin) in zip(hidden, some, strict=True):
            logits = plain.get_output_embeddings()(states[begin - 1 : len(row) - 1]).float()
            total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(row[begin:]), reduction="sum"))
            tokens += len(row) - begin
    return math.exp(total / max(1, tokens))

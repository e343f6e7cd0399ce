"""The first token of a text as a sink: where a tokenizer puts no token before a text, the text's own first token often
gathers the attention of all others, and has a residual stream many times as long as theirs.

Sources: Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks (arXiv:2309.17453), and Sun et al.
2024, Massive Activations in Large Language Models (arXiv:2402.17762).
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

TIMES = 10.0
"""A first token is a sink whose residual stream is this many times as long as the median of the others."""
FEWEST = 4
"""Tokens of a text by which this can be told."""
PLAIN_TEXT = "The meeting was moved to Friday, because two of the guests come from far away."


def plain_text_has_sink(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: int, context_length: int
) -> bool:
    """Return True if the first token of a plain text is a sink in `model`, which reads tokens below `rows`."""
    ids = [token for token in tokenizer(PLAIN_TEXT)["input_ids"] if token < rows]
    return first_is_sink(model, ids[:context_length])


@torch.no_grad()
def first_is_sink(model: PreTrainedModel, ids: Sequence[int]) -> bool:
    """Return True if the first token of the text `ids` is a sink in the middle of `model`."""
    if len(ids) < FEWEST:
        return False
    states = model(torch.tensor([ids], device=model.device), output_hidden_states=True).hidden_states
    norms = states[len(states) // 2][0].float().norm(dim=-1)
    return bool(norms[0] > TIMES * norms[1:].median())

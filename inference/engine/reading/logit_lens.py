"""The logit lens: the tokens that a direction in the residual stream promotes and suppresses."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from steering.architectures import architecture

LOGITS = 2**23
"""Logits in memory at a time: 32 MiB of float32."""


@dataclass(frozen=True)
class PromotedTokens:
    """(token id, logit) of the tokens with the largest and with the smallest logit, the most extreme first."""

    promoted: list[tuple[int, float]]
    suppressed: list[tuple[int, float]]


@torch.no_grad()
def promoted_tokens(model: PreTrainedModel, direction: Tensor, vocabulary: int, top: int) -> PromotedTokens:
    """The logits that `direction`, (d_model,), adds by itself: through the scale of the final norm and the unembedding.

    The norm's division by the size of the whole residual stream is left out, since it is not known; it changes no
    order. https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru. Token ids from `vocabulary` on are padding of the matrix.
    """
    [found] = promoted_by_each(model, direction.unsqueeze(0), vocabulary, top)
    return found


@torch.no_grad()
def promoted_by_each(
    model: PreTrainedModel, directions: Tensor, vocabulary: int, top: int = 10
) -> Iterator[PromotedTokens]:
    """The same for each of `directions`, (n, d_model); LOGITS of them are in memory at a time."""
    unembedding = model.get_output_embeddings().weight[:vocabulary]
    norm = model.get_submodule(architecture(str(model.config.model_type)).final_norm)
    scale = _scale(norm, unembedding)
    for rows in directions.split(max(1, LOGITS // len(unembedding))):
        logits = (rows.to(unembedding) * scale) @ unembedding.T
        sides = [logits.topk(min(top, len(unembedding)), dim=1, largest=largest) for largest in (True, False)]
        columns = [column.tolist() for side in sides for column in (side.indices, side.values)]
        for largest, high, smallest, low in zip(*columns, strict=True):
            promoted, suppressed = zip(largest, high, strict=True), zip(smallest, low, strict=True)
            yield PromotedTokens(list(promoted), list(suppressed))


def _scale(norm: nn.Module, like: Tensor) -> Tensor:
    """The factors of a final norm, (d_model,): `weight`, or 1 + `weight` as in Gemma.

    They are measured: a vector of ones and minus ones has the mean 0 and the variance 1, so that every norm only
    multiplies it, and a bias falls out of the difference.
    """
    signs = torch.ones(like.shape[1], dtype=like.dtype, device=like.device)
    signs[::2] = -1.0
    scale: Tensor = (norm(signs) - norm(-signs)) / 2 * signs
    return scale

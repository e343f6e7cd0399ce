"""The logit lens: the tokens that a direction in the residual stream promotes and suppresses."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from steering.architectures import architecture


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
    unembedding = model.get_output_embeddings().weight[:vocabulary]
    norm = model.get_submodule(architecture(str(model.config.model_type)).final_norm)
    logits = unembedding @ (direction.to(unembedding) * _scale(norm, unembedding))
    found = [(sign * logits).topk(min(top, len(logits))) for sign in (1.0, -1.0)]
    promoted, suppressed = (
        [(index, sign * value) for index, value in zip(one.indices.tolist(), one.values.tolist(), strict=True)]
        for one, sign in zip(found, (1.0, -1.0), strict=True)
    )
    return PromotedTokens(promoted, suppressed)


def _scale(norm: nn.Module, like: Tensor) -> Tensor:
    """The factors of a final norm, (d_model,): `weight`, or 1 + `weight` as in Gemma.

    They are measured: a vector of ones and minus ones has the mean 0 and the variance 1, so that every norm only
    multiplies it, and a bias falls out of the difference.
    """
    signs = torch.ones(like.shape[1], dtype=like.dtype, device=like.device)
    signs[::2] = -1.0
    scale: Tensor = (norm(signs) - norm(-signs)) / 2 * signs
    return scale

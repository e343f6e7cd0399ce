"""The arithmetic of attention, with and without a soft cap."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

CAPPED_ROWS = 256  # rows of scores that are in memory at once, for each head


@dataclass(frozen=True)
class Mix:
    """The arithmetic of attention, for shapes (batch, heads, tokens, d_head); query heads may share a key head."""

    scale: float | None = None
    softcap: float | None = None

    def __call__(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, *, is_causal: bool = False
    ) -> Tensor:
        """`mask` is boolean, or is added to the scores; `is_causal` needs as many keys as queries."""
        if self.softcap is None:
            options: dict[str, Any] = {"scale": self.scale, "enable_gqa": queries.size(1) != keys.size(1)}
            mixed: Tensor = scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, is_causal=is_causal, **options
            )
            return mixed
        if is_causal:
            mask = torch.ones(queries.size(2), keys.size(2), dtype=torch.bool, device=keys.device).tril()
        if mask is not None:
            mask = mask.expand(*mask.shape[:-2], queries.size(2), keys.size(2))
        rows = [slice(start, start + CAPPED_ROWS) for start in range(0, queries.size(2), CAPPED_ROWS)]
        blocks = [
            self._capped(queries[:, :, row], keys, values, None if mask is None else mask[..., row, :]) for row in rows
        ]
        return torch.cat(blocks, dim=2)

    def _capped(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, tokens, size = queries.shape
        grouped = queries.reshape(batch, keys.size(1), -1, size)  # the query heads of a key head are rows of one matrix
        scores = grouped @ keys.transpose(-1, -2) * (size**-0.5 if self.scale is None else self.scale)
        assert self.softcap is not None
        scores = (scores / self.softcap).tanh() * self.softcap
        scores = scores.view(batch, heads, tokens, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
        mixed = weights.view(batch, keys.size(1), -1, keys.size(2)) @ values
        return mixed.view(batch, heads, tokens, -1)

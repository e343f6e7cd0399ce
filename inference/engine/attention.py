"""Paged attention on a CPU, request by request.

With `sdpa`, transformers packs the keys of all requests into one row and masks those of other requests: each of 16
requests computes scores for the keys of all 16. Here the requests that decode attend in padded batches of similar
length, and each prompt attends by itself. Models with sliding attention keep transformers' attention.

Attention with a soft cap is here too (Gemma 2, https://arxiv.org/abs/2408.00118): torch's `sdpa` has none, and
transformers' `paged|eager` omits the cap without an error. So this module registers itself as `paged|eager` too:
see CAPPED.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.cache_allocators.full_attention import FullAttentionCacheAllocator
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

CAPPED = "paged|eager"
"""The name for classes that do not support `sdpa`. Continuous batching accepts a fixed list of names only."""
CAPPED_ROWS = 256  # rows of scores that are in memory at once, for each head
PLAN_ATTRIBUTE = "attention_plan"
"""The attribute of the cache that holds the plan of the step; a cache without it has transformers' attention."""


@dataclass(frozen=True)
class Share:
    """A request's share of a step: `query` new tokens after `past` cached ones, and its blocks in the cache."""

    past: int
    query: int
    blocks: Sequence[int]


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


@dataclass(frozen=True)
class Decodes:
    """Requests with one new token each.

    `tokens` are their indices in the packed batch, (requests,), None where the batch has no others. `index` has the
    places of their keys and values, (requests, length). `mask` is true where a place is not padding,
    (requests, 1, 1, length), None where none is padding.
    """

    requests: int
    tokens: Tensor | None
    index: Tensor
    mask: Tensor | None

    def attend(self, query: Tensor, new: tuple[Tensor, Tensor], cached: tuple[Tensor, Tensor], mix: "Mix") -> Tensor:
        """Return (requests, heads, d_head) by `query` (tokens, heads, d_head) of all tokens."""
        keys, values = (self._read(one) for one in cached)
        own = query if self.tokens is None else query.index_select(0, self.tokens)
        # Query heads that share a key head are rows of one small query matrix.
        queries = own.reshape(self.requests, keys.size(1), -1, query.size(-1))
        mixed = mix(queries, keys, values, self.mask)
        return mixed.reshape(self.requests, query.size(1), query.size(-1))

    def _read(self, cached: Tensor) -> Tensor:
        """The cached keys or values, (requests, heads, length, d_head)."""
        found = cached.index_select(0, self.index.view(-1))
        return found.view(self.requests, -1, *cached.shape[1:]).transpose(1, 2)


@dataclass(frozen=True)
class Prompt:
    """A request with several new tokens, `tokens` in the packed batch; `index` is None where none of its was cached."""

    tokens: slice
    index: Tensor | None
    mask: Tensor | None

    def attend(self, query: Tensor, new: tuple[Tensor, Tensor], cached: tuple[Tensor, Tensor], mix: "Mix") -> Tensor:
        if self.index is None:
            keys, values = (one[self.tokens].transpose(0, 1).unsqueeze(0) for one in new)
        else:
            keys, values = (one.index_select(0, self.index).transpose(0, 1).unsqueeze(0) for one in cached)
        queries = query[self.tokens].transpose(0, 1).unsqueeze(0)
        mixed = mix(queries, keys, values, self.mask, is_causal=self.mask is None)
        return mixed[0].transpose(0, 1)


@dataclass(frozen=True)
class Plan:
    """The parts of one step's attention, the same for every layer."""

    write_index: Tensor
    parts: tuple[Decodes | Prompt, ...]

    @classmethod
    def of(cls, shares: Sequence[Share], allocator: FullAttentionCacheAllocator, write_index: Tensor) -> "Plan":
        alike: dict[int, list[tuple[int, Share]]] = defaultdict(list)
        parts: list[Decodes | Prompt] = []
        start = 0
        for share in shares:
            if share.query == 1:
                # Grouped by the power of two of their blocks, so that at most half of the keys read are padding.
                alike[len(share.blocks).bit_length()].append((start, share))
            else:
                parts.append(_prompt(start, share, allocator))
            start += share.query
        decodes = [_decodes(group, start, allocator) for group in alike.values()]
        return cls(write_index, (*decodes, *parts))

    def attend(self, query: Tensor, new: tuple[Tensor, Tensor], cached: tuple[Tensor, Tensor], mix: "Mix") -> Tensor:
        """Return (tokens, heads, d_head). `new` are the keys and values of the step, `cached` those of a layer."""
        for old, one in zip(cached, new, strict=True):
            old.index_copy_(0, self.write_index, one)
        if len(self.parts) == 1:
            return self.parts[0].attend(query, new, cached, mix)
        mixed = torch.empty_like(query)
        for part in self.parts:
            mixed[part.tokens] = part.attend(query, new, cached, mix)
        return mixed


def _decodes(group: Sequence[tuple[int, Share]], tokens: int, allocator: FullAttentionCacheAllocator) -> Decodes:
    lengths = [share.past + 1 for _, share in group]
    longest = max(lengths)
    index = _index([share.blocks for _, share in group], longest, allocator)
    mask = None
    if min(lengths) < longest:
        mask = (torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)).view(len(group), 1, 1, longest)
    own = None if len(group) == tokens else torch.tensor([start for start, _ in group])
    return Decodes(len(group), own, index, mask)


def _prompt(start: int, share: Share, allocator: FullAttentionCacheAllocator) -> Prompt:
    tokens = slice(start, start + share.query)
    if not share.past:
        return Prompt(tokens, None, None)
    total = share.past + share.query
    mask = torch.ones(share.query, total, dtype=torch.bool).tril(diagonal=share.past)
    return Prompt(tokens, _index([share.blocks], total, allocator)[0], mask)


def _index(blocks: Sequence[Sequence[int]], length: int, allocator: FullAttentionCacheAllocator) -> Tensor:
    """The places of the first `length` tokens of each request in a layer's views, (requests, length); padded with 0."""
    page = allocator.tokens_per_page
    needed = -(-length // page)
    table = torch.tensor([[*one[:needed], *[0] * (needed - len(one))] for one in blocks])
    index = table.unsqueeze(-1) * allocator.block_physical_stride + torch.arange(page)
    found: Tensor = index.view(len(blocks), -1)[:, :length].contiguous()
    return found


def can_plan(cache: PagedAttentionCache) -> bool:
    """True of a cache on a CPU with full attention in every layer."""
    allocators = list(cache.cache_allocators.values())
    # Not `isinstance`: the allocator of sliding attention is a subclass.
    full = len(allocators) == 1 and type(allocators[0]) is FullAttentionCacheAllocator
    return full and next(iter(allocators[0]._kv_token_views.values()))[0].device.type == "cpu"


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend by the plan of the cache, or with a soft cap; without either as transformers' `sdpa` does.

    Shapes are (1, heads, tokens, d_head) with a paged cache, (batch, heads, tokens, d_head) without one.
    """
    cache = kwargs.get("cache")
    plan: Plan | None = getattr(cache, PLAN_ATTRIBUTE, None)
    mix = Mix(kwargs.get("scaling"), kwargs.get("softcap"))
    if kwargs.get("s_aux") is not None:
        raise ValueError("attention sinks are not supported: sdpa would leave them out")
    if plan is None and mix.softcap is None:
        answer: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return answer
    if kwargs.get("position_bias") is not None:
        raise ValueError("a position_bias is not supported with a soft cap, nor on a CPU")
    if plan is None:
        if cache is not None:
            key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs)
        return mix(query, key, value, attention_mask).transpose(1, 2).contiguous(), None
    [allocator] = kwargs["cache"].cache_allocators.values()
    new = key[0].transpose(0, 1), value[0].transpose(0, 1)
    cached = allocator._kv_token_views[module.layer_idx]
    mixed = plan.attend(query[0].transpose(0, 1), new, cached, mix)
    return mixed.unsqueeze(0), None


def install() -> None:
    """Register `attention` as this process's `sdpa`.

    It cannot have a name of its own: continuous batching admits only `sdpa`, `paged|eager` and names of FlashAttention.
    """
    AttentionInterface.register("sdpa", attention)


AttentionInterface.register(CAPPED, attention)
# Always a mask, never torch's flag for causality. The engine brings a mask of its own.
AttentionMaskInterface.register(CAPPED, eager_mask)

"""The plan of a step's paged attention on a CPU, request by request.

With `sdpa`, transformers packs the keys of all requests into one row and masks those of other requests: each of 16
requests computes scores for the keys of all 16. Here the requests that decode attend in padded batches of similar
length, and each prompt attends by itself. Models with sliding attention keep transformers' attention.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.generation.continuous_batching.cache_allocators.full_attention import FullAttentionCacheAllocator

from inference.engine.attention.kept import Kept, KeptReads, Pair
from inference.engine.attention.mix import Mix

PLAN_ATTRIBUTE = "attention_plan"
"""The attribute of the cache that holds the plan of the step; a cache without it has transformers' attention."""


@dataclass(frozen=True)
class Share:
    """A request's share of a step: `query` new tokens after `past` cached ones, and its blocks in the cache."""

    request_id: str
    past: int
    query: int
    blocks: Sequence[int]


@dataclass(frozen=True)
class Decodes:
    """Requests with one new token each, which have `lengths` tokens with it.

    `tokens` are their indices in the packed batch, (requests,), None where the batch has no others. `blocks` are those
    of each in the cache. `mask` is true where a place is not padding, (requests, 1, 1, length), None where none is
    padding.
    """

    tokens: Tensor | None
    lengths: Sequence[int]
    blocks: Sequence[Sequence[int]]
    allocator: FullAttentionCacheAllocator
    kept: Kept | None
    mask: Tensor | None

    @classmethod
    def of(
        cls,
        group: Sequence[tuple[int, Share]],
        tokens: int,
        allocator: FullAttentionCacheAllocator,
        reads: KeptReads,
    ) -> "Decodes":
        """Of shares with the index of each one's token in the packed batch, which has so many tokens."""
        lengths = [share.past + 1 for _, share in group]
        longest, mask = max(lengths), None
        if min(lengths) < longest:
            mask = (torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)).view(len(group), 1, 1, longest)
        own = None if len(group) == tokens else torch.tensor([start for start, _ in group])
        kept = reads.of(tuple(share.request_id for _, share in group), lengths)
        return cls(own, lengths, [share.blocks for _, share in group], allocator, kept, mask)

    def attend(self, layer: int, query: Tensor, new: Pair, cached: Pair, mix: Mix) -> Tensor:
        """Return (requests, heads, d_head) by `query` (tokens, heads, d_head) of all tokens."""

        def copies() -> Pair:
            index = _index(self.blocks, self.lengths, self.allocator)
            keys, values = (one.index_select(0, index.view(-1)).view(*index.shape, *one.shape[1:]) for one in cached)
            return keys, values

        own, own_keys, own_values = (self._own(one) for one in (query, *new))
        found = self.kept.read(layer, (own_keys, own_values), copies) if self.kept else copies()
        keys, values = (one.transpose(1, 2) for one in found)
        # Query heads that share a key head are rows of one small query matrix.
        queries = own.reshape(len(own), keys.size(1), -1, query.size(-1))
        return mix(queries, keys, values, self.mask).reshape(own.shape)

    def _own(self, packed: Tensor) -> Tensor:
        return packed if self.tokens is None else packed.index_select(0, self.tokens)


@dataclass(frozen=True)
class Prompt:
    """A request with several new tokens, `tokens` in the packed batch; `index` is None where none of its was cached."""

    tokens: slice
    index: Tensor | None
    mask: Tensor | None

    def attend(self, layer: int, query: Tensor, new: Pair, cached: Pair, mix: Mix) -> Tensor:
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
    def of(
        cls,
        shares: Sequence[Share],
        allocator: FullAttentionCacheAllocator,
        write_index: Tensor,
        reads: KeptReads,
    ) -> "Plan":
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
        reads.begin_step()
        decodes = [Decodes.of(group, start, allocator, reads) for group in alike.values()]
        reads.drop_rest()
        return cls(write_index, (*decodes, *parts))

    def attend(self, layer: int, query: Tensor, new: Pair, cached: Pair, mix: Mix) -> Tensor:
        """Return (tokens, heads, d_head). `new` are the keys and values of the step, `cached` those of the layer."""
        for old, one in zip(cached, new, strict=True):
            old.index_copy_(0, self.write_index, one)
        if len(self.parts) == 1:
            return self.parts[0].attend(layer, query, new, cached, mix)
        mixed = torch.empty_like(query)
        for part in self.parts:
            mixed[part.tokens] = part.attend(layer, query, new, cached, mix)
        return mixed


def _prompt(start: int, share: Share, allocator: FullAttentionCacheAllocator) -> Prompt:
    tokens = slice(start, start + share.query)
    if not share.past:
        return Prompt(tokens, None, None)
    total = share.past + share.query
    mask = torch.ones(share.query, total, dtype=torch.bool).tril(diagonal=share.past)
    return Prompt(tokens, _index([share.blocks], [total], allocator)[0], mask)


def _index(blocks: Sequence[Sequence[int]], lengths: Sequence[int], allocator: FullAttentionCacheAllocator) -> Tensor:
    """The places of the tokens of each request in a layer's views, (requests, longest).

    A shorter request is padded with its last place: another one may hold what a lost request left, which is no number.
    """
    page = allocator.tokens_per_page
    needed = -(-max(lengths) // page)
    table = torch.tensor([[*one[:needed], *[0] * (needed - len(one))] for one in blocks])
    positions = torch.arange(max(lengths)).minimum(torch.tensor(lengths).unsqueeze(1) - 1)
    places: Tensor = table.gather(1, positions // page) * allocator.block_physical_stride + positions % page
    return places


def can_plan(cache: PagedAttentionCache) -> bool:
    """True of a cache on a CPU with full attention in every layer."""
    allocators = list(cache.cache_allocators.values())
    # Not `isinstance`: the allocator of sliding attention is a subclass.
    full = len(allocators) == 1 and type(allocators[0]) is FullAttentionCacheAllocator
    return full and next(iter(allocators[0]._kv_token_views.values()))[0].device.type == "cpu"

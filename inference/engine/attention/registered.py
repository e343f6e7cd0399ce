"""Attention under the names by which transformers calls it.

Attention with a soft cap is here too (Gemma 2, https://arxiv.org/abs/2408.00118): torch's `sdpa` has none, and
transformers' `paged|eager` omits the cap without an error. So this module registers itself as `paged|eager` too:
see CAPPED.
"""

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

from inference.engine.attention.mix import Mix
from inference.engine.attention.plan import PLAN_ATTRIBUTE, Plan

CAPPED = "paged|eager"
"""The name for classes that do not support `sdpa`. Continuous batching accepts a fixed list of names only."""


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
    layer = module.layer_idx
    assert isinstance(layer, int)
    mixed = plan.attend(layer, query[0].transpose(0, 1), new, cached, mix)
    return mixed.unsqueeze(0), None


def install() -> None:
    """Register `attention` as this process's `sdpa`.

    It cannot have a name of its own: continuous batching admits only `sdpa`, `paged|eager` and names of FlashAttention.
    """
    AttentionInterface.register("sdpa", attention)


AttentionInterface.register(CAPPED, attention)
# Always a mask, never torch's flag for causality. The engine brings a mask of its own.
AttentionMaskInterface.register(CAPPED, eager_mask)

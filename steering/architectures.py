"""The language models that can be steered, and the places of the hook points in their transformer blocks.

Hook points are TransformerLens' (https://transformerlensorg.github.io/TransformerLens/): `hook_mlp_out` and
`hook_attn_out` are the addends of the residual stream, so they lie behind a norm where an architecture has one there.
"""

import re
from dataclasses import dataclass

from steering.errors import Refused

RESID_PRE, RESID_POST = "hook_resid_pre", "hook_resid_post"
MLP_OUT, ATTN_OUT = "hook_mlp_out", "hook_attn_out"
HOOK_POINTS = (RESID_PRE, RESID_POST, MLP_OUT, ATTN_OUT)
PASSED = (RESID_PRE, ATTN_OUT, MLP_OUT, RESID_POST)
"""The hook points of a block in the order in which a forward pass comes to them."""
HOOK_NAME = re.compile(r"blocks\.(?P<layer>\d{1,4})\.(?P<hook_point>\w+)", re.ASCII)


class UnsupportedArchitecture(Refused):
    """A model whose transformer blocks are unknown."""

    code = "unsupported_architecture"


class UnsupportedHookPoint(Refused):
    """A place in a block where nothing steers."""

    code = "unsupported_hook_point"


@dataclass(frozen=True)
class Architecture:
    """The paths of the transformer blocks in a causal language model, and of two hook points' modules in a block."""

    blocks: str = "model.layers"
    mlp_out: str = "mlp"
    attn_out: str = "self_attn"
    final_norm: str = "model.norm"

    def module(self, hook_point: str) -> str:
        """The submodule of a block at whose output the hook point is; "" is the block itself."""
        return {MLP_OUT: self.mlp_out, ATTN_OUT: self.attn_out}.get(hook_point, "")


_LLAMA = Architecture()
_NORMED = Architecture(mlp_out="post_feedforward_layernorm", attn_out="post_attention_layernorm")

ARCHITECTURES = {
    "gemma": _LLAMA,
    "gemma2": _NORMED,
    "gemma3_text": _NORMED,
    "gpt2": Architecture("transformer.h", attn_out="attn", final_norm="transformer.ln_f"),
    "gpt_neox": Architecture("gpt_neox.layers", attn_out="attention", final_norm="gpt_neox.final_layer_norm"),
    "granite": _LLAMA,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _LLAMA,
    "olmo2": _NORMED,
    "phi": Architecture(final_norm="model.final_layernorm"),
    "phi3": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "smollm3": _LLAMA,
}
"""The architectures by `model_type` of a configuration; each is tested with a small model of the real class."""


def architecture(model_type: str) -> Architecture:
    """The architecture of a `model_type`. Raises UnsupportedArchitecture."""
    found = ARCHITECTURES.get(model_type)
    if found is None:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UnsupportedArchitecture(f"architecture {model_type!r:.100} is not supported: expected one of {known}")
    return found


def parse_hook_name(hook_name: str) -> tuple[int, str]:
    """Layer, zero-based, and hook point of a name such as `blocks.2.hook_resid_post`. Raises UnsupportedHookPoint."""
    match = HOOK_NAME.fullmatch(hook_name)
    if match is None or match["hook_point"] not in HOOK_POINTS:
        expected = f"blocks.<layer>.<one of {', '.join(HOOK_POINTS)}>"
        raise UnsupportedHookPoint(f"hook point {hook_name[:100]!r} is not supported: expected {expected}")
    return int(match["layer"]), match["hook_point"]


def pass_order(hook_name: str) -> tuple[int, int]:
    """A key that sorts hook names in the order of a forward pass. Raises UnsupportedHookPoint."""
    layer, hook_point = parse_hook_name(hook_name)
    return layer, PASSED.index(hook_point)

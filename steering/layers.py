"""Where the decoder blocks of a model are."""

from torch import nn

# config.model_type -> path of the list of decoder blocks inside the causal language model.
DECODER_BLOCKS = {
    "gemma": "model.layers",
    "gemma2": "model.layers",
    "gemma3_text": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "llama": "model.layers",
    "mistral": "model.layers",
    "mixtral": "model.layers",
    "olmo2": "model.layers",
    "phi": "model.layers",
    "phi3": "model.layers",
    "qwen2": "model.layers",
    "qwen3": "model.layers",
    "smollm3": "model.layers",
}


class UnsupportedArchitecture(ValueError):
    """A model whose decoder blocks we do not know."""


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks of a causal language model, in order.

    Raises UnsupportedArchitecture for a `model_type` outside `DECODER_BLOCKS`.
    """
    model_type = str(model.config.model_type)  # type: ignore[union-attr]
    path = DECODER_BLOCKS.get(model_type)
    if path is None:
        known = ", ".join(sorted(DECODER_BLOCKS))
        raise UnsupportedArchitecture(f"architecture {model_type!r} is not supported: expected one of {known}")
    blocks = model.get_submodule(path)
    assert isinstance(blocks, nn.ModuleList)
    return blocks

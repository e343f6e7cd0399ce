"""The transformer blocks of a model in memory, and hooks that add to its hidden states."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from steering.architectures import RESID_PRE, architecture


def transformer_blocks(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks of a causal language model, in order. Raises UnsupportedArchitecture."""
    blocks = model.get_submodule(architecture(_model_type(model)).blocks)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def add_at(model: nn.Module, layer: int, hook_point: str, addend: Callable[[], Tensor | None]) -> RemovableHandle:
    """Add `addend()` at a hook point in every forward pass, until the handle is removed.

    The addend broadcasts to (batch, seq, d_model); None adds nothing.
    """
    block = transformer_blocks(model)[layer]

    def before(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        added = addend()
        if added is None:
            return None
        if args:
            return (args[0] + added, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": kwargs["hidden_states"] + added}

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        added = addend()
        if added is None:
            return None
        return (output[0] + added, *output[1:]) if isinstance(output, tuple) else output + added

    if hook_point == RESID_PRE:
        return block.register_forward_pre_hook(before, with_kwargs=True)
    path = architecture(_model_type(model)).module(hook_point)
    return block.get_submodule(path).register_forward_hook(after)


def _model_type(model: nn.Module) -> str:
    return str(model.config.model_type)  # type: ignore[union-attr]

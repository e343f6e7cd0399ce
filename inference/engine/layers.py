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


def change_at(
    model: nn.Module, layer: int, hook_point: str, change: Callable[[Tensor], Tensor | None]
) -> RemovableHandle:
    """Have `change` replace the residual stream at a hook point in every forward pass, until the handle is removed.

    `change` gets and returns (batch, seq, d_model); None leaves the stream as it is.
    """
    block = transformer_blocks(model)[layer]

    def before(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = change(args[0] if args else kwargs["hidden_states"])
        if changed is None:
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        is_tuple = isinstance(output, tuple)
        changed = change(output[0] if is_tuple else output)
        if changed is None:
            return None
        return (changed, *output[1:]) if is_tuple else changed

    if hook_point == RESID_PRE:
        return block.register_forward_pre_hook(before, with_kwargs=True)
    path = architecture(_model_type(model)).module(hook_point)
    return block.get_submodule(path).register_forward_hook(after)


def add_at(model: nn.Module, layer: int, hook_point: str, addend: Callable[[], Tensor | None]) -> RemovableHandle:
    """Add `addend()` at a hook point in every forward pass, until the handle is removed.

    It broadcasts to (batch, seq, d_model); None adds nothing.
    """

    def add(stream: Tensor) -> Tensor | None:
        added = addend()
        return None if added is None else stream + added

    return change_at(model, layer, hook_point, add)


def _model_type(model: nn.Module) -> str:
    return str(model.config.model_type)  # type: ignore[union-attr]

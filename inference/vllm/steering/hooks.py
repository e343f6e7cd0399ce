"""The hook points in vLLM's models: an operator there hands the residual stream to the `Programs` of this process.

The operator is opaque to torch's compiler, which so keeps it in the graph, and reads no Python state while it compiles.
It changes its first argument in place. vLLM's blocks carry the residual stream as `hidden` and `residual`, whose sum it
is; the next norm adds them.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.library import Library
from vllm.model_executor.models.utils import PPMissingLayer
from vllm.utils.torch_utils import direct_register_custom_op

from inference.engine.steering.program import HookPlace
from inference.vllm.steering.programs import Programs
from steering.architectures import ATTN_OUT, HOOK_POINTS, MLP_OUT, RESID_POST, RESID_PRE, architecture

_library = Library("millm", "FRAGMENT")  # an operator lives as long as its library
_change: Callable[[HookPlace, Tensor, Tensor | None], None] | None = None
"""What the operator calls: this process runs one model."""


def _steer(hidden: Tensor, residual: Tensor | None, layer: int, hook_point: int) -> None:
    assert _change is not None
    for place in _places(layer, HOOK_POINTS[hook_point]):
        _change(place, hidden, residual)


def _steer_nothing(hidden: Tensor, residual: Tensor | None, layer: int, hook_point: int) -> None:
    """Stand for the operator while torch compiles."""


direct_register_custom_op("steer", _steer, ["hidden"], _steer_nothing, _library)


def install(model: nn.Module, programs: Programs) -> list[HookPlace]:
    """Hook the blocks of this process's part of `model`, before its first forward pass. Returns their hook points.

    Raises UnsupportedArchitecture.
    """
    global _change
    _change = programs.change
    known = architecture(str(model.config.model_type))  # type: ignore[union-attr]
    blocks = model.get_submodule(known.blocks)
    assert isinstance(blocks, nn.ModuleList)
    mine = [(layer, block) for layer, block in enumerate(blocks) if not isinstance(block, PPMissingLayer)]
    places: list[HookPlace] = []
    for layer, block in mine:
        if layer == 0:  # of any other block it is the end of the block before, where one operator is both
            block.register_forward_pre_hook(_before(block), with_kwargs=True)
            places.append((0, RESID_PRE))
        for hook_point in (ATTN_OUT, MLP_OUT, RESID_POST):
            block.get_submodule(known.module(hook_point)).register_forward_hook(_after(layer, hook_point))
            places += _places(layer, hook_point)
    return places


def watch(programs: Programs, seen: Callable[[HookPlace, Tensor], None]) -> None:
    """Change the streams by `programs`, and tell of each, with its hook point, after the change.

    `unwatch` ends it.
    """
    global _change

    def change_and_tell(place: HookPlace, hidden: Tensor, residual: Tensor | None) -> None:
        programs.change(place, hidden, residual)
        seen(place, hidden.clone() if residual is None else hidden + residual)

    _change = change_and_tell


def unwatch(programs: Programs) -> None:
    """End `watch`."""
    global _change
    _change = programs.change


def _places(layer: int, hook_point: str) -> list[HookPlace]:
    """The hook points at one place of the stream, in their order."""
    return [(layer, RESID_POST), (layer + 1, RESID_PRE)] if hook_point == RESID_POST else [(layer, hook_point)]


def _after(layer: int, hook_point: str) -> Callable[[nn.Module, Any, Any], None]:
    number = HOOK_POINTS.index(hook_point)

    def steer(_module: nn.Module, _args: Any, output: Any) -> None:
        hidden, residual = output[:2] if isinstance(output, tuple) else (output, None)
        torch.ops.millm.steer(hidden, residual, layer, number)

    return steer


def _before(first: nn.Module) -> Callable[[nn.Module, Any, Any], None]:
    """The hook before the first block, whose stream is the embeddings."""
    at = list(inspect.signature(first.forward).parameters).index("hidden_states")
    number = HOOK_POINTS.index(RESID_PRE)

    def steer(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[at] if at < len(args) else kwargs["hidden_states"]
        torch.ops.millm.steer(hidden, None, 0, number)

    return steer

"""The hook points in vLLM's models: an operator there hands the residual stream to the `Programs` of this process.

The operator is opaque to torch's compiler, which so keeps it in the graph, and reads no Python state while it compiles.
It changes its first argument in place. vLLM's blocks carry the residual stream as `hidden` and `residual`, whose sum it
is; the next norm adds them.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_programs: Programs | None = None
"""What the operator calls: this process runs one model."""
_last: int | None = None
"""The last block of this process where another process goes on."""
_seen: Callable[[HookPlace, Tensor], None] | None = None
"""Told of each stream: see `watch`."""


def _steer(hidden: Tensor, residual: Tensor | None, layer: int, hook_point: int) -> None:
    assert _programs is not None
    point = HOOK_POINTS[hook_point]
    for place in _places(layer, point):
        _programs.change(place, hidden, residual)
        if _seen is not None:
            _seen(place, hidden.clone() if residual is None else hidden + residual)
    if point in (RESID_PRE, RESID_POST):
        _programs.guard(hidden, residual, is_end=point == RESID_POST and layer == _last)


def _steer_nothing(hidden: Tensor, residual: Tensor | None, layer: int, hook_point: int) -> None:
    """Stand for the operator while torch compiles."""


direct_register_custom_op("steer", _steer, ["hidden", "residual"], _steer_nothing, _library)


def install(model: nn.Module, programs: Programs, *, is_last: bool) -> list[HookPlace]:
    """Hook the blocks of this process's part of `model`, before its first forward pass. Returns their hook points.

    `is_last` is true where no other process has later blocks.

    Raises UnsupportedArchitecture.
    """
    global _programs, _last
    _programs = programs
    known = architecture(str(model.config.model_type))  # type: ignore[union-attr]
    blocks = model.get_submodule(known.blocks)
    assert isinstance(blocks, nn.ModuleList)
    mine = [(layer, block) for layer, block in enumerate(blocks) if not isinstance(block, PPMissingLayer)]
    first, _last = mine[0][0], None if is_last else mine[-1][0]
    # Of any other block it is the end of the block before, where one operator does both.
    mine[0][1].register_forward_pre_hook(_before(first, mine[0][1]), with_kwargs=True)
    places = _places(first, RESID_PRE)
    for layer, block in mine:
        for hook_point in (ATTN_OUT, MLP_OUT, RESID_POST):
            block.get_submodule(known.module(hook_point)).register_forward_hook(_after(layer, hook_point))
            places += _places(layer, hook_point)
    return places


@contextmanager
def watch(seen: Callable[[HookPlace, Tensor], None]) -> Iterator[None]:
    """Tell `seen` of the stream at each hook point that a pass comes to, after its change; (tokens, d_model)."""
    global _seen
    _seen = seen
    try:
        yield
    finally:
        _seen = None


def _places(layer: int, hook_point: str) -> list[HookPlace]:
    """The hook points that are steered at one place of the stream, in their order."""
    if hook_point == RESID_PRE:
        return [(0, RESID_PRE)] if layer == 0 else []
    return [(layer, RESID_POST), (layer + 1, RESID_PRE)] if hook_point == RESID_POST else [(layer, hook_point)]


def _after(layer: int, hook_point: str) -> Callable[[nn.Module, Any, Any], None]:
    number = HOOK_POINTS.index(hook_point)

    def steer(_module: nn.Module, _args: Any, output: Any) -> None:
        hidden, residual = output[:2] if isinstance(output, tuple) else (output, None)
        torch.ops.millm.steer(hidden, residual, layer, number)

    return steer


def _before(layer: int, block: nn.Module) -> Callable[[nn.Module, Any, Any], None]:
    """The hook before a block, whose arguments have the names of vLLM's models."""
    names = list(inspect.signature(block.forward).parameters)
    number = HOOK_POINTS.index(RESID_PRE)

    def argument(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        at = names.index(name) if name in names else len(args)
        return args[at] if at < len(args) else kwargs.get(name)

    def steer(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden, residual = argument("hidden_states", args, kwargs), argument("residual", args, kwargs)
        torch.ops.millm.steer(hidden, residual, layer, number)

    return steer

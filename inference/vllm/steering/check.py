"""The test at the start of an engine: that what steers reaches the model as it will run, compiled or not.

A graph that was compiled without our operators would serve unsteered text in silence.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inference.engine.steering.program import HookPlace, Program
from inference.vllm.steering import hooks
from inference.vllm.steering.programs import Programs
from steering.architectures import RESID_POST

TOKENS = 4
TOLERANCE = {torch.float32: 1e-4}
COARSE = 2e-2
"""Of bfloat16 and float16, in parts of the largest number."""


class SteeringLost(RuntimeError):
    """A steering that does not reach the model."""


def check(run: Callable[[int], Any], places: list[HookPlace], programs: Programs, d_model: int) -> None:
    """Compare steered passes with an unsteered one at each layer; `run` makes a pass of a number of tokens.

    At the end of a block the stream differs by the vector that is added there; the streams after it differ, those
    before it do not. Raises SteeringLost.
    """
    before = _streams(run)
    if missing := [place for place in places if place not in before]:
        raise SteeringLost(f"the model passes {len(before)} of {len(places)} hook points, not {missing[0]}: {_ADVICE}")
    # Attention reads no keys and values in such a pass: what it adds is the same in all of them.
    blocks = [place for place in places if place[1] == RESID_POST]
    noise = torch.Generator().manual_seed(0)
    for at, place in enumerate(blocks):
        like = before[place]
        vector = torch.randn(d_model, generator=noise) * like.float().norm(dim=-1).mean().item() / d_model**0.5
        programs.begin_test(Program(vectors={place: vector}), TOKENS)
        try:
            after = _streams(run)
        finally:
            programs.end_test()
        _compare(place, blocks[:at], blocks[at + 1 :], before, after, vector)


_ADVICE = "empty vLLM's cache of compiled models (VLLM_CACHE_ROOT), or set INFERENCE_COMPILE=false"


def _compare(
    place: HookPlace,
    earlier: list[HookPlace],
    later: list[HookPlace],
    before: dict[HookPlace, Tensor],
    after: dict[HookPlace, Tensor],
    vector: Tensor,
) -> None:
    expected = before[place].float() + vector.to(before[place].device)
    allowed = TOLERANCE.get(before[place].dtype, COARSE) * float(expected.abs().max())
    if float((after[place].float() - expected).abs().max()) > allowed:
        raise SteeringLost(f"a vector added at {place} does not change the stream there by itself: {_ADVICE}")
    if changed := [one for one in earlier if not torch.equal(before[one], after[one])]:
        raise SteeringLost(f"a vector added at {place} changes the stream at {changed[0]}, before it: {_ADVICE}")
    if same := [one for one in later if (before[one] == after[one]).all(dim=-1).any()]:
        raise SteeringLost(f"a vector added at {place} does not change the stream at {same[0]}, after it: {_ADVICE}")


def _streams(run: Callable[[int], Any]) -> dict[HookPlace, Tensor]:
    """The stream at each hook point that a pass comes to, (tokens, d_model)."""
    seen: dict[HookPlace, Tensor] = {}
    with hooks.watch(lambda place, stream: seen.update({place: stream[:TOKENS]})):
        run(TOKENS)
    return seen

"""The engine in-process, on a 34M-parameter Llama with random weights, float32 on a CPU; 32 prompt and 128 new tokens.

Every ratio is of two things measured in turn in the same run; figures are medians.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel

from bench.setup import report, start_django
from bench.subject import LAYER, VOCAB, make
from inference.engine.engine import EngineLimits
from inference.tests.engines import Collected, run_engine
from steering.spec import SteeringSpec

PROMPT, NEW, ROUNDS = 32, 128, 7
LIMITS = EngineLimits(max_requests=16, max_batch_tokens=512, cache_tokens=16_384)


def load(folder: Path) -> PreTrainedModel:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    return model.to(device).eval()  # type: ignore[arg-type]


def prompts(count: int, length: int = PROMPT, seed: int = 0) -> list[list[int]]:
    choose = random.Random(seed)
    return [[choose.randrange(VOCAB - 1) for _ in range(length)] for _ in range(count)]


def profile(i: int) -> SteeringSpec | None:
    return SteeringSpec.build("bench", "", LAYER, f"blocks.{LAYER}.hook_resid_post", {7 * i + j: 0.5 for j in range(8)})


@torch.inference_mode()
def bare_loop(model: PreTrainedModel, batch: list[list[int]]) -> None:
    """A static batch of equal lengths, greedy, over the same modules: what the hardware gives without a server."""
    cache, ids = DynamicCache(), torch.tensor(batch, device=model.device)
    for _ in range(NEW):
        logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)
        ids.tolist()


@torch.inference_mode()
def generate(model: PreTrainedModel, batch: list[list[int]]) -> None:
    ids = torch.tensor(batch, device=model.device)
    options: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    model.generate(ids, attention_mask=torch.ones_like(ids), **options)  # type: ignore[operator]


def together(engine: Collected, batch: list[list[int]], steerings: list[SteeringSpec | None]) -> None:
    engine.greedy(list(zip(batch, steerings, strict=True)), new_tokens=NEW)


def in_turn(calls: dict[str, Callable[[], None]], tokens: dict[str, int]) -> dict[str, float]:
    """Tokens/s of each, all measured in every round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for done in range(ROUNDS + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if done:  # the first round warms up
                times[name].append(time.perf_counter() - began)
    return {name: round(tokens[name] / statistics.median(taken), 1) for name, taken in times.items()}


def prefix_sharing(engine: Collected) -> dict[str, float]:
    """Time to the first token of a 1,500-token prompt that is new, and of the same one with a turn more."""
    new, again = [], []
    for seed in range(ROUNDS):
        [prompt] = prompts(1, 1500, seed=100 + seed)
        for taken, ids in ((new, prompt), (again, prompt + prompts(1, 20, seed=seed)[0])):
            began = time.perf_counter()
            engine.wait(engine.submit(ids, profile(1), max_new_tokens=2), "delta")
            taken.append(time.perf_counter() - began)
            time.sleep(0.1)
    first, second = statistics.median(new), statistics.median(again)
    return {"first turn, first token (ms)": round(1000 * first, 1), "second turn ÷ first": round(second / first, 3)}


def main() -> None:
    start_django()  # settings, and tests' helpers that need them
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        plain, served = load(Path(name)), load(Path(name))
        ours = run_engine(served, AutoTokenizer.from_pretrained(name), Path(name) / "sae", LIMITS)
        with ours as engine:
            batch, one = prompts(16), prompts(1)
            steered: list[SteeringSpec | None] = [profile(i) for i in range(16)]
            calls = {
                "bare loop, 16": partial(bare_loop, plain, batch),
                "16 unsteered": partial(together, engine, batch, [None] * 16),
                "16 steered differently": partial(together, engine, batch, steered),
                "model.generate, 1": partial(generate, plain, one),
                "bare loop, 1": partial(bare_loop, plain, one),
                "1 unsteered": partial(together, engine, one, [None]),
                "1 steered": partial(together, engine, one, steered[:1]),
            }
            speed = in_turn(calls, {name: NEW * (1 if "1 " in name[:2] or name[-1] == "1" else 16) for name in calls})
            sharing = prefix_sharing(engine)
    ratios = {
        "16 steered ÷ 16 unsteered": speed["16 steered differently"] / speed["16 unsteered"],
        "1 steered ÷ 1 unsteered": speed["1 steered"] / speed["1 unsteered"],
        "16 at once ÷ one after the other": speed["16 unsteered"] / speed["1 unsteered"],
        "16 ÷ bare loop of 16": speed["16 unsteered"] / speed["bare loop, 16"],
        "1 ÷ model.generate": speed["1 unsteered"] / speed["model.generate, 1"],
    }
    figures = {"tokens/s": speed, "ratio": {k: round(v, 3) for k, v in ratios.items()}, "prefix sharing": sharing}
    report("engine", str(__doc__), figures)


if __name__ == "__main__":
    main()

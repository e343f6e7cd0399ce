"""Steering in full in the engine, in-process, on the model of `bench.engine`: 32 prompt and 64 new tokens.

Every ratio is of two things measured one after the other, of which the median over the rounds is given.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from bench.engine import load, prompts
from bench.setup import report, start_django
from bench.subject import LAYER, make, make_sae
from inference.engine.engine import EngineLimits
from inference.engine.steering.weights import SteeringWeights
from inference.tests.engines import Collected, run_engine
from steering.formats import read_config
from steering.spec import Change, Condition, Mode, Positions, SAEPlace, SteeringPart, SteeringSpec

NEW, ROUNDS, WIDE, QUEUED, PROMPT = 64, 7, 16_384, 256, 1500
FOUR = (2, 4, 6, 8)
LIMITS = EngineLimits(max_requests=16, max_batch_tokens=512, cache_tokens=16_384)
MANY = EngineLimits(max_requests=64, max_batch_tokens=512, cache_tokens=32_768)
DIFFERENT = (1, 16, 32, 64, 128, 256)

Spec = SteeringSpec | None


def part(layer: int, first: int, mode: Mode = "add", value: float = 0.5, count: int = 4, **own: Any) -> SteeringPart:
    changes = tuple(Change(first + j, value, mode) for j in range(count))
    name = f"wide-{layer}"
    return SteeringPart(name, "", layer, f"blocks.{layer}.hook_resid_post", changes, SAEPlace(name), **own)


def steerings(count: int = 16) -> dict[str, list[Spec]]:
    """The kinds of steering, each a list of different ones."""
    when = Condition("wide-2", "", 2, "blocks.2.hook_resid_post", 5, 0.2, place=SAEPlace("wide-2"))
    kinds: dict[str, Callable[[int], list[SteeringPart]]] = {
        "one layer": lambda i: [part(LAYER, 7 * i, count=8)],
        "four layers": lambda i: [part(layer, 7 * i) for layer in FOUR],
        "4 features clamped": lambda i: [part(LAYER, 7 * i, "clamp", 2.0)],
        "4 vectors projected out": lambda i: [part(LAYER, 7 * i, "project", 1.0)],
        "of the answer": lambda i: [part(LAYER, 7 * i, positions=Positions("answer"))],
        "under a condition": lambda i: [part(LAYER, 7 * i, when=when)],
    }
    return {name: [SteeringSpec.of(make(i)) for i in range(count)] for name, make in kinds.items()}


def seconds(engine: Collected, batch: list[list[int]], specs: list[Spec], new: int = NEW) -> float:
    began = time.perf_counter()
    engine.greedy(list(zip(batch, specs, strict=True)), new_tokens=new)
    return time.perf_counter() - began


def ratios(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The time of the unsteered requests ÷ that of each call, measured before and after it; medians over the rounds."""
    unsteered = calls.pop("unsteered")
    found: dict[str, list[float]] = {name: [] for name in calls}
    before = unsteered()  # warms up
    for _ in range(rounds):
        before = unsteered()
        for name, call in calls.items():
            taken, after = call(), unsteered()
            found[name].append((before + after) / 2 / taken)
            before = after
    return {f"{name} ÷ unsteered": round(statistics.median(each), 3) for name, each in found.items()}


def kinds(engine: Collected) -> dict[str, float]:
    """Tokens/s of 16 requests of each kind ÷ those of 16 unsteered ones."""
    batch = prompts(16)
    calls = {f"16 {name}": partial(seconds, engine, batch, specs) for name, specs in steerings().items()}
    return ratios({"unsteered": partial(seconds, engine, batch, [None] * 16), **calls}, ROUNDS)


def curve(engine: Collected) -> dict[str, float]:
    """Tokens/s of 256 queued requests under n different steerings ÷ those of as many unsteered ones."""
    batch, every = prompts(QUEUED, 16), steerings(QUEUED)["one layer"]
    calls = {
        f"{n} different": partial(seconds, engine, batch, [every[i % n] for i in range(QUEUED)], 8) for n in DIFFERENT
    }
    return ratios({"unsteered": partial(seconds, engine, batch, [None] * QUEUED, 8), **calls}, rounds=3)


def answer_only(engine: Collected) -> dict[str, float]:
    """The first token under another steering of the answer, after a request with the same prompt."""
    first, second = [], []
    one, other = steerings(2)["of the answer"]
    for seed in range(ROUNDS + 1):
        [ids] = prompts(1, PROMPT, seed=300 + seed)
        for taken, spec in ((first, one), (second, other)):
            began = time.perf_counter()
            engine.wait(engine.submit(ids, spec, max_new_tokens=2), "delta")
            taken.append(time.perf_counter() - began)
            time.sleep(0.1)
    new, again = statistics.median(first[1:]), statistics.median(second[1:])
    return {
        "first token of a new prompt (ms)": round(1000 * new, 1),
        "same prompt, other steering ÷": round(again / new, 3),
    }


def main() -> None:
    start_django()  # settings, and tests' helpers that need them
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        for layer in FOUR:
            make_sae(folder / f"wide-{layer}", layer, WIDE, "jumprelu")
        weights, tokenizer = SteeringWeights(lambda place: read_config(folder / place.source)), AutoTokenizer
        figures: dict[str, Any] = {}
        with run_engine(load(folder), tokenizer.from_pretrained(name), folder / "sae", LIMITS, weights) as engine:
            figures["16 requests"] = kinds(engine)
            figures["answer only"] = answer_only(engine)
        with run_engine(load(folder), tokenizer.from_pretrained(name), folder / "sae", MANY, weights) as engine:
            figures["256 queued requests"] = curve(engine)
    report("steering", str(__doc__), figures)


if __name__ == "__main__":
    main()

"""Calls and the reasoning stay unsteered in one mixed batch: each request gets what a plain hook gives it alone.

The hook is switched off over exactly the tokens of these regions. Single letters are the delimiters, so that random
models write regions.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.engine.detokenizer import TokenTexts
from inference.engine.engine import EngineLimits
from inference.engine.loading import load
from inference.engine.steering.hooks import SteeringHooks, TooManySets
from inference.engine.steering.regions import Regions, Span
from inference.models import LanguageModel
from inference.tests.engines import Collected, run_engine
from inference.tests.test_architectures import plain_model, save_small_model
from inference.tests.test_steering_in_full import PlainHooks, Written, prompt_of, steerings, write_saes
from inference.tests.tiny import tiny_model
from steering.spec import Change, Positions, Region, SteeringPart, SteeringSpec

NEW = 24
BEGINS = "!#%&()"
OPENS: dict[Region, str] = {"reasoning": "ABCDEFGHIJ", "call": "KLMNOPQRSTUVWXYZ01234"}
CLOSES: dict[Region, str] = {"reasoning": "abcdefghij", "call": "klmnopqrstuvwxyz56789"}
FLAGS: list[dict[str, Any]] = [{"tools": False}, {"thinking": False}, {"tools": False, "thinking": False}]
END = 1


@dataclass
class OneForm:
    """Regions by single letters, whatever the form of the model's row is."""

    regions: Regions

    def of(self, _chosen: str) -> Regions:
        return self.regions


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_saes(tmp_path_factory.mktemp("saes"))


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def row(request: Any, tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return save_small_model(request.param, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(row: LanguageModel) -> tuple[Any, PreTrainedModel]:
    return load(row.path, row.dtype, row.device), plain_model(row)


@pytest.fixture(scope="module")
def collected(model: Any, written: Written) -> Iterator[Collected]:
    yield from started(model, written)


def started(model: Any, written: Written, **options: Any) -> Iterator[Collected]:
    (served, tokenizer), _ = model
    with run_engine(served, tokenizer, written.folder / "standard", weights=written.weights(), **options) as engine:
        engine.engine.regions = OneForm(letters(tokenizer))
        yield engine


def letters(tokenizer: PreTrainedTokenizerFast) -> Regions:
    """Regions by single letters."""
    spans = [Span(region, re.compile(f"[{OPENS[region]}]"), re.compile(f"[{CLOSES[region]}]")) for region in OPENS]
    return Regions(TokenTexts(tokenizer.backend_tokenizer), spans, re.compile(f"[{BEGINS}]"), [END])


def naive(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], prompt: int) -> list[Region]:
    """The region of each token, letter by letter."""
    found: list[Region] = []
    region: Region = "content"
    is_message, last = False, ""
    for position, piece in enumerate(tokenizer.convert_ids_to_tokens(list(ids))):
        if position == prompt and not is_message:
            is_message = True
            region = next((one for one, letters in OPENS.items() if last and last in letters), "content")
        before = region
        for letter in piece:
            if letter in BEGINS:
                is_message, region = True, "content"
            elif is_message and region != "content":
                region = "content" if letter in CLOSES[region] else region
            elif is_message:
                region = next((one for one, letters in OPENS.items() if letter in letters), "content")
            last = last if letter in "ĠĊĉč" else letter
        if ids[position] == END:
            is_message, region, last = False, "content", ""
        found.append(region if before == "content" else before)
    return found


class Interrupted(PlainHooks):
    """The formulas, but for the tokens of calls or of the reasoning."""

    tokenizer: PreTrainedTokenizerFast
    regions: Sequence[Region] = ()

    def steers(self, part: SteeringPart, position: int) -> bool:
        if len(self.regions) != len(self.ids):
            self.regions = naive(self.tokenizer, self.ids, self.prompt)
        region = self.regions[position]
        if (region == "call" and not part.tools) or (region == "reasoning" and not part.thinking):
            return False
        return super().steers(part, position)


def reference(model: Any, written: Written, ids: list[int], parts: list[SteeringPart]) -> list[int]:
    (_, tokenizer), plain = model
    hooks = Interrupted(written, parts, ids, plain)
    hooks.tokenizer = tokenizer
    return hooks.generate(plain, NEW)


def interrupted(written: Written) -> list[list[SteeringPart]]:
    """The steerings of all kinds, each part with one of FLAGS."""
    every = steerings(written)
    return [[replace(part, **FLAGS[(at + n) % 3]) for n, part in enumerate(parts)] for at, parts in enumerate(every)]


def answers(collected: Collected, jobs: Sequence[tuple[list[int], list[SteeringPart]]]) -> list[list[int]]:
    return collected.greedy([(ids, SteeringSpec.of(parts)) for ids, parts in jobs], NEW)


def test_16_requests_get_in_one_batch_what_a_hook_that_is_switched_off_gives_each_alone(
    collected: Collected, model: Any, written: Written
) -> None:
    jobs = [(prompt_of(20 + 3 * at, seed=at), parts) for at, parts in enumerate(interrupted(written))]
    expected = [reference(model, written, *job) for job in jobs]
    assert answers(collected, jobs) == expected
    whole = [(ids, [replace(part, tools=True, thinking=True) for part in parts]) for ids, parts in jobs]
    others = [reference(model, written, *job) for job in whole]
    unsteered = [reference(model, written, ids, []) for ids, _ in jobs]
    assert sum(a not in (b, c) for a, b, c in zip(expected, others, unsteered, strict=True)) >= 4
    (_, tokenizer), _ = model
    regions = {
        one
        for (ids, _), answer in zip(jobs, expected, strict=True)
        for one in naive(tokenizer, ids + answer, len(ids))[len(ids) :]
    }
    assert regions == {"content", "reasoning", "call"}


def test_a_second_turn_shares_blocks_of_the_first_one_and_gets_what_it_gets_alone(
    collected: Collected, model: Any, written: Written
) -> None:
    add = [written.part("standard", Change(3, 9.0), **flags) for flags in FLAGS]
    mark = model[0][1].convert_tokens_to_ids("!")
    for at, part in enumerate([*add, add[0]]):
        # With the mark the answer's message begins in the prompt, as of a chat; without, where the prompt ends.
        first = [*prompt_of(60, seed=at), *([mark] if at < 3 else [])]
        [answer] = answers(collected, [(first, [part])])
        assert answer == reference(model, written, first, [part])
        second = [*first, *answer, *prompt_of(8, seed=50 + at)]
        submitted = collected.submit(second, SteeringSpec.of([part]), max_new_tokens=NEW)
        assert collected.tokens(submitted) == reference(model, written, second, [part])
        if collected.engine._manager.batch_processor.cache.use_prefix_sharing:
            assert collected.cached_tokens(submitted) >= 64
        for other in (replace(part, tools=not part.tools), replace(part, tools=True, thinking=True)):
            assert answers(collected, [(second, [other])]) == [reference(model, written, second, [other])]


def test_requests_that_lose_their_blocks_go_on_as_they_began(row: LanguageModel, model: Any, written: Written) -> None:
    limits = EngineLimits(max_requests=8, max_batch_tokens=64, cache_tokens=320)
    own = load(row.path, row.dtype, row.device), model[1]  # an engine takes its model over
    jobs = [(prompt_of(40 + at, seed=at), parts) for at, parts in enumerate(interrupted(written)[8:16])]
    for engine in started(own, written, limits=limits):
        assert answers(engine, jobs) == [reference(model, written, *job) for job in jobs]


def test_a_cancelled_request_gives_its_rows_back(collected: Collected, written: Written) -> None:
    parts = interrupted(written)[1]
    submitted = collected.submit(prompt_of(30), SteeringSpec.of(parts), max_new_tokens=100)
    collected.wait(submitted, "delta")
    collected.engine.cancel(submitted)
    assert collected.wait(submitted)[-1].data.get("code") in {"cancelled", None}
    answers(collected, [(prompt_of(30, seed=1), parts)])
    assert not collected.engine._answers
    assert not collected.engine._hooks._users


def test_more_sets_of_parts_than_rows_are_refused_by_name(collected: Collected, written: Written) -> None:
    flags = [
        dict(zip(("special_tokens", "tools", "thinking"), one, strict=True)) for one in product((True, False), repeat=3)
    ]
    parts = [
        written.part("standard", Change(n, 1.0), positions=Positions(first=n + 1), **flags[n % 8]) for n in range(16)
    ]
    hooks, regions = SteeringHooks(tiny_model(), 9, written.weights(), [0, END]), collected.engine.regions.of("")
    with pytest.raises(TooManySets, match=r"has \d\d different sets of parts along a text, expected at most 8: give"):
        hooks.acquire(SteeringSpec.of(parts), 30, "r", regions)
    hooks.acquire(SteeringSpec.of(parts[:1]), 30, "r", regions)

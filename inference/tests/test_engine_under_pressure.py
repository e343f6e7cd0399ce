"""A cache far too small, and requests that come and go in every way: the engine loses nothing and mixes nothing up."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.engine import EngineLimits
from inference.interface import ContextLengthExceeded, EngineBusy, SamplingParams
from inference.tests.engines import Collected, run_engine
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer
from steering.spec import SteeringSpec

# 8 blocks of 32 tokens: room for about three of the requests below.
SMALL = EngineLimits(max_requests=8, max_batch_tokens=64, cache_tokens=256)
ROOMY = EngineLimits(max_requests=8, max_batch_tokens=64, cache_tokens=8192)
CLIENTS, EACH = 16, 65
SCHEMA = '{"type": "array", "items": {"type": "integer", "maximum": 99}, "maxItems": 9}'


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sae(tmp_path_factory.mktemp("sae"))


@pytest.fixture
def small(sae: Path) -> Iterator[Collected]:
    with run_engine(tiny_model(), tiny_tokenizer(), sae, SMALL) as engine:
        yield engine


@dataclass(frozen=True)
class Job:
    """One request and how it is asked for."""

    prompt: tuple[int, ...]
    steering: SteeringSpec | None
    options: dict[str, Any] = field(hash=False)


def jobs(count: int) -> list[Job]:
    """Requests of every kind that the engine keeps a book for: steered, penalised, held to a schema, stopped."""
    rng = random.Random(0)
    made = []
    for number in range(count):
        sampling = SamplingParams(
            temperature=rng.choice([0.0, 1.0]),
            seed=number,
            presence_penalty=rng.choice([0.0, 0.8]),
            repetition_penalty=rng.choice([1.0, 1.3]),
            logit_bias=rng.choice([(), ((40 + number, 4.0),)]),
        )
        options: dict[str, Any] = {"sampling": sampling, "max_new_tokens": rng.choice([2, 4, 20, 60])}
        if number % 4 == 0:
            options["schema"] = SCHEMA
        if number % 3 == 0:
            options["top_logprobs"] = 2
        if number % 5 == 0:
            options["stop"] = ("a", "e", "1")
        strengths = {number: 2.0} if number % 2 else {}
        spec = SteeringSpec.build("tiny-sae", "f" * 64, 1, "blocks.1.hook_resid_post", strengths)
        prompt = [rng.randrange(2, 320) for _ in range(rng.choice([3, 40, 90]))]
        made.append(Job(tuple(prompt), spec, options))
    return made


def answer(collected: Collected, request_id: str) -> tuple[Any, ...]:
    """All that a client would see of an answer: how it ended, its text, tokens and log-probabilities."""
    events = collected.wait(request_id)
    deltas = [event.data for event in events if event.kind == "delta"]
    tokens = [token for delta in deltas for token in delta["token_ids"]]
    logprobs = [entry["logprob"] for delta in deltas for entry in delta.get("logprobs", ())]
    text = "".join(delta["text"] for delta in deltas)
    return events[-1].kind, dict(events[-1].data), text, tokens, logprobs


def same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one[:-1] == other[:-1] and bool(one[-1] == pytest.approx(other[-1], abs=1e-3))


def submit(collected: Collected, job: Job) -> str:
    while True:
        try:
            return collected.submit(list(job.prompt), job.steering, **job.options)
        except EngineBusy:
            time.sleep(0.005)


def assert_books_are_empty(collected: Collected) -> None:
    engine = collected.engine
    processor = engine._manager.batch_processor
    scheduler, cache = processor.scheduler, processor.cache
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (engine._answers or scheduler.has_pending_requests()):
        time.sleep(0.01)
    assert engine._answers == {}
    assert engine._hooks._users == {}
    assert sorted(engine._tables._free) == list(range(1, engine._capacity + 1))
    assert (scheduler.active_requests, scheduler.waiting_requests) == ({}, {})
    assert not scheduler.waiting_requests_order
    assert not scheduler._requests_to_cancel
    assert not scheduler.block_new_requests
    for allocator in cache.cache_allocators.values():
        assert allocator.block_table == {}
        assert allocator.ledger.shared_ref_counts == {}
    cache.evict_cached_blocks()
    assert cache.compute_free_capacity() == 1.0


def test_clients_that_leave_a_full_cache_leave_an_engine_that_answers(small: Collected) -> None:
    asked = [small.submit([5, 6, 7 + i], max_new_tokens=240) for i in range(8)]
    for request_id in asked:
        small.wait(request_id, "delta")
    deadline = time.monotonic() + 20
    while not small.engine._manager.batch_processor.scheduler.block_new_requests:
        assert time.monotonic() < deadline, "the cache never overflowed: the test proves nothing"
        time.sleep(0.001)
    for request_id in asked:
        small.engine.cancel(request_id)
    request_id = small.submit([5, 6, 7], max_new_tokens=4)
    assert small.wait(request_id, timeout_s=10)[-1].kind == "finished"
    assert_books_are_empty(small)


def test_an_answer_that_lost_its_blocks_is_the_same_answer(small: Collected, sae: Path) -> None:
    """Requests are written anew into the cache after an overflow: with their logprobs, counts and grammars."""
    asked = [
        Job(
            tuple(range(10 + i, 50 + i)),
            None,
            {
                "max_new_tokens": 100,
                "top_logprobs": 1,
                "sampling": SamplingParams(temperature=1.0, seed=i, frequency_penalty=0.3),
                "schema": '{"type": "string", "minLength": 80}' if i % 2 else None,
            },
        )
        for i in range(6)
    ]
    together = [answer(small, request_id) for request_id in [submit(small, job) for job in asked]]
    with run_engine(tiny_model(), tiny_tokenizer(), sae, ROOMY) as roomy:
        alone = [answer(roomy, submit(roomy, job)) for job in asked]
    assert all(map(same, together, alone))


def test_an_engine_that_begins_no_step_while_requests_wait_is_dead(sae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = EngineLimits(max_requests=8, max_batch_tokens=64, cache_tokens=256, idle_timeout_s=0.3)
    with run_engine(tiny_model(), tiny_tokenizer(), sae, limits) as collected:
        engine = collected.engine
        assert engine.is_alive()
        monkeypatch.setattr(engine._manager.batch_processor.scheduler, "schedule_batch", lambda *_: ([], False, 0, 0))
        collected.submit([5, 6, 7])
        deadline = time.monotonic() + 10
        while engine.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert engine.fault().startswith("1 requests wait and no step has begun for")


def test_a_request_that_only_just_fits_into_the_cache_is_answered_and_a_longer_one_refused(sae: Path) -> None:

    limits = EngineLimits(max_requests=8, max_batch_tokens=64, cache_tokens=224)
    with run_engine(tiny_model(), tiny_tokenizer(), sae, limits) as collected:
        fits = collected.submit([5] * 200, max_new_tokens=24)
        assert len(collected.tokens(fits)) == 24
        with pytest.raises(ContextLengthExceeded, match="224 tokens"):
            collected.submit([5] * 200, max_new_tokens=25)


def test_a_request_that_cannot_be_handed_to_the_batch_leaves_no_row_and_no_slot(
    small: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(small.engine._manager, "add_request", broken)
    job = next(job for job in jobs(40) if job.steering and job.options["sampling"].needs_tables)
    with pytest.raises(ValueError, match="broken"):
        submit(small, job)
    assert_books_are_empty(small)


def test_a_thousand_requests_that_end_in_every_way_leave_nothing_behind(small: Collected, sae: Path) -> None:
    """Answered, stopped, cancelled at any moment, or failed by a step that ran out of memory."""
    kinds = jobs(40)
    with run_engine(tiny_model(), tiny_tokenizer(), sae, ROOMY) as roomy:
        alone = [answer(roomy, submit(roomy, job)) for job in kinds]
    out_of_memory = random.Random(1)

    def fail_at_times(*_args: Any) -> None:
        if out_of_memory.random() < 0.002:
            raise torch.OutOfMemoryError("out of memory")

    small.engine.model.register_forward_pre_hook(fail_at_times)
    ends: Counter[str] = Counter()
    wrong: list[tuple[int, Any, Any]] = []

    def ask(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(EACH):
            number = rng.randrange(len(kinds))
            request_id = submit(small, kinds[number])
            if rng.random() < 0.5:
                if rng.random() < 0.8:
                    small.wait(request_id, rng.choice(["started", "delta"]))
                small.engine.cancel(request_id)
            kind, data, *_ = found = answer(small, request_id)
            ends[data.get("code") or data["reason"]] += 1
            if kind == "finished" and not same(found, alone[number]):
                wrong.append((number, found, alone[number]))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong[:3] == []
    assert set(ends) == {"stop", "length", "cancelled", "out_of_memory"}
    out_of_memory.random = lambda: 1.0  # type: ignore[method-assign]
    request_id = small.submit([5, 6, 7], max_new_tokens=4)
    assert small.wait(request_id, timeout_s=10)[-1].kind == "finished"
    assert_books_are_empty(small)

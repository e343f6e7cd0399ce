"""Background requests take free places of the batch, and give way to users. The steps are held, not timed."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from inference.engine.engine import ContinuousEngine, EngineLimits
from inference.engine.sampling.sampler import BatchSampler
from inference.interface import EngineBusy, EngineClosed, Event, GenerationRequest, InvalidSampling
from inference.sweeps.models import Place, Sweep, SweepCell
from inference.tests.engines import GREEDY, Collected, run_engine
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer
from inference.worker.sweeping import answers as module
from inference.worker.sweeping import run
from inference.worker.sweeping.answers import BackgroundAnswer, BackgroundAnswers
from inference.worker.sweeping.run import SweepModel
from inference.worker.sweeping.sweeps import sweep_next

LIMIT_S = 60
PROMPT = [5, 6, 7]


@dataclass
class Shared(Collected):
    """An engine of users and of background requests."""

    background: BackgroundAnswers[str] = field(init=False)

    def __post_init__(self) -> None:
        self.background = BackgroundAnswers(lambda: self.engine)

    def listen(self, events: list[Event]) -> None:
        super().listen(self.background.take(events))

    def begin(self, key: str, tokens: int = 8) -> None:
        self.background.submit(key, GenerationRequest("", PROMPT, tokens, GREEDY))

    def ended(self) -> BackgroundAnswer[str]:
        answer = self.background.ended(LIMIT_S)
        assert answer is not None
        return answer


class Gate:
    """Each step of the batch waits for a permit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.permits, self.is_open = threading.Semaphore(0), threading.Event()
        self.steps = 0
        step = BatchSampler.__call__

        def held(sampler: BatchSampler, *args: Any) -> Any:
            self.steps += 1
            while not self.is_open.is_set() and not self.permits.acquire(timeout=0.05):
                pass
            return step(sampler, *args)

        monkeypatch.setattr(BatchSampler, "__call__", held)

    def wait_for_step(self, number: int) -> None:
        wait_until(lambda: self.steps >= number)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.is_open.set()


@pytest.fixture
def shared(tmp_path: Path, gate: Gate) -> Iterator[Shared]:
    """An engine with two places."""
    limits = EngineLimits(max_requests=2, max_batch_tokens=64, cache_tokens=4096)
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path / "sae"), limits, collected=Shared()) as made:
        assert isinstance(made, Shared)
        yield made
        gate.is_open.set()


def test_background_requests_take_the_free_places_alone(shared: Shared, gate: Gate) -> None:
    assert shared.background.has_room()
    user = shared.submit(PROMPT)
    gate.wait_for_step(1)
    assert shared.background.has_room()  # beside the user's request
    shared.begin("a")
    assert not shared.background.has_room()
    gate.is_open.set()
    shared.wait(user)
    assert shared.ended().key == "a"
    wait_until(shared.background.has_room)


def test_a_background_request_is_cancelled_where_it_holds_up_a_user_and_its_answer_is_the_same_later(
    shared: Shared, gate: Gate
) -> None:
    for key in ("a", "b"):
        shared.begin(key)
    gate.wait_for_step(1)
    user = shared.submit(PROMPT)
    assert not shared.background.has_room()
    assert shared.background.give_way() == []  # no step has passed the user over yet
    gate.permits.release()
    gate.wait_for_step(2)
    wait_until(shared.engine.users_wait)
    assert shared.background.give_way() == ["a", "b"]
    assert len(shared.background) == 0
    assert not shared.background.has_room()
    gate.is_open.set()
    answer = shared.tokens(user)
    wait_until(shared.background.has_room)
    shared.begin("a", 16)
    again = shared.ended()
    assert (again.key, again.token_ids, again.reason) == ("a", answer, "length")
    assert shared.background.ended(0) is None


def test_a_user_who_finds_a_place_disturbs_no_background_request(shared: Shared, gate: Gate) -> None:
    shared.begin("a")
    gate.wait_for_step(1)
    user = shared.submit(PROMPT)
    gate.permits.release()
    gate.wait_for_step(2)
    assert shared.background.give_way() == []
    gate.is_open.set()
    shared.wait(user)
    assert shared.ended().reason == "length"


def test_there_are_a_few_background_requests_at_once(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 1)
    shared.begin("a")
    assert not shared.background.has_room()
    assert shared.background.cancel() == ["a"]
    gate.is_open.set()
    assert shared.background.cancel() == []


# --- a sweep whose answers give way ---


class Scripted:
    """The answers of a sweep, each with the outcomes that a test wants, in turn."""

    def __init__(self, outcomes: dict[Place, list[Any]]) -> None:
        self.outcomes, self.running, self.submitted = outcomes, list[Place](), list[Place]()
        self.gives_way, self.calls = 1, 0

    def __len__(self) -> int:
        return len(self.running)

    def has_room(self) -> bool:
        return len(self.running) < 2

    def submit(self, place: Place, request: Any) -> None:
        self.submitted.append(place)
        outcome = self.outcomes.get(place)
        if outcome and isinstance(outcome[0], Exception):
            raise outcome.pop(0)
        self.running.append(place)

    def give_way(self) -> list[Place]:
        if len(self.running) < 2 or not self.gives_way:
            return []
        self.gives_way -= 1
        return self.cancel()

    def cancel(self) -> list[Place]:
        running, self.running = self.running, []
        return running

    def ended(self, timeout_s: float) -> BackgroundAnswer[Place] | None:
        self.calls += 1
        if not self.running or self.calls <= 2:  # so that two run at once
            return None
        place = self.running.pop(0)
        outcome = self.outcomes.get(place, [])
        code = outcome.pop(0) if outcome else ""
        return BackgroundAnswer(place, PROMPT, "one two", [8, 9], "stop", code, "why" if code else "")


class Flat:
    """Each token has the log-probability −1."""

    def logprobs(self, prompt: Any, continuations: Any, steering: Any = None) -> list[list[float]]:
        return [[-1.0] * len(ids) for ids in continuations]


class Builder:
    def background(self, *args: Any) -> Any:
        return args


@pytest.fixture
def sweep(transactional_db: None) -> Sweep:
    rest = {"document": {}, "model_name": "tiny", "model_version": "v", "chat": True, "max_tokens": 8}
    sampling = {"sampling": {"top_k": 0}, "words": ["a"], "values": [0.0, 1.0], "steerings": [None, None]}
    return Sweep.objects.create(
        profile="p", prompts=["x", "y"], seeds=[1], total=4, due_at=Now(), **rest, **sampling
    ).fresh()


def work(outcomes: dict[Place, list[Any]], is_stopping: Callable[[], bool] = lambda: False) -> Scripted:
    answers: Any = Scripted(outcomes)
    parts: Any = (Builder(), answers, Flat(), lambda spec: spec, lambda word: [8])
    assert sweep_next("tiny", SweepModel("v", *parts), is_stopping)
    return answers  # type: ignore[no-any-return]


def test_an_answer_that_gave_way_is_made_again_and_each_is_stored_once(sweep: Sweep) -> None:
    cancelled, refused = Place(0, 1, 1), Place(1, 0, 1)
    answers = work({cancelled: ["cancelled"], refused: [EngineBusy("full"), InvalidSampling("bad")]})
    sweep.refresh_from_db()
    assert (sweep.status, sweep.ended, sweep.attempts, sweep.due_at) == ("done", 4, 0, None)
    assert answers.gives_way == 0
    assert answers.submitted.count(cancelled) == 3
    cells = {(one.value_at, one.prompt_at, one.seed): one for one in SweepCell.objects.all()}
    assert len(cells) == 4
    assert cells[refused].error == "bad"
    good = cells[cancelled]
    assert (good.text, good.tokens, good.words, good.repeats) == ("one two", 2, [-1.0], 0.0)
    assert good.perplexity == pytest.approx(2.718281828)


def test_an_answer_that_failed_has_its_error_and_the_others_go_on(sweep: Sweep) -> None:
    work({Place(1, 1, 1): ["out_of_memory"]})
    assert SweepCell.objects.get(value_at=1, prompt_at=1).error == "why"
    assert sweep.fresh().failed() == 1
    sweep.resume()
    assert (sweep.ended, sweep.status, sweep.waits) == (3, "queued", True)
    work({})
    assert (sweep.fresh().ended, sweep.failed()) == (4, 0)


def test_a_worker_that_stops_leaves_the_sweep_to_another_one(sweep: Sweep) -> None:
    work({}, lambda: SweepCell.objects.count() == 2)
    assert (sweep.fresh().status, sweep.waits, sweep.ended) == ("running", True, 2)
    work({})
    assert (sweep.fresh().status, sweep.ended) == ("done", 4)


def test_a_sweep_whose_engine_has_ended_is_due_again(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LATER_S", 3600)
    work({Place(1, 0, 1): [EngineClosed("the engine is closed")]})
    assert (sweep.fresh().status, sweep.ended) == ("running", 2)
    assert sweep.due_at is not None
    assert not sweep.waits  # not at once, so that no worker tries again and again
    Sweep.objects.update(due_at=Now())
    work({})
    assert (sweep.fresh().status, sweep.ended) == ("done", 4)


def test_a_model_of_other_files_ends_the_sweep_with_an_error(sweep: Sweep) -> None:
    Sweep.objects.update(model_version="other")
    work({})
    assert "got v, expected other" in sweep.fresh().error
    assert sweep.status == "error"


def test_a_sweep_at_which_workers_end_again_and_again_is_given_up(sweep: Sweep) -> None:
    Sweep.objects.update(attempts=5)
    work({})
    assert "5 workers ended before the next answer was stored" in sweep.fresh().error


def test_an_engine_has_no_room_once_it_has_stopped(shared: Shared, gate: Gate) -> None:
    gate.is_open.set()
    engine: ContinuousEngine = shared.engine
    engine.close()
    assert not engine.users_wait()

"""The model servers of a worker during a switch: which one answers, what is counted, and outages half-way."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from redis import RedisError

from inference.worker.process import Worker
from inference.worker.servers import Servers


class Fake:
    """A model server without a model."""

    def __init__(self, name: str, load_id: str = "", tokens: int = 0) -> None:
        self.model = SimpleNamespace(name=name, version=name, queue=f"queue.{name}", load_id=load_id or name)
        self.tokens, self.is_closed, self.listens = tokens, False, 0
        self.engine, self.loaded = SimpleNamespace(statistics=self._statistics), torch.nn.Identity()

    def _statistics(self) -> Any:
        return SimpleNamespace(generated_tokens=self.tokens)

    def listen_for_cancellations(self) -> None:
        self.listens += 1

    def close(self) -> None:
        self.is_closed = True


def fake(name: str, load_id: str = "", tokens: int = 0) -> Any:
    return Fake(name, load_id, tokens)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []

    def count(tokens: int) -> bool:
        counts.append(tokens)
        return True

    monkeypatch.setattr("inference.broker.counters.tokens_generated", count)
    return counts


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.worker.servers.free_memory_of", lambda model: None)


def test_each_version_is_answered_by_its_own_server(counted: list[int]) -> None:
    both, old, new = Servers(), fake("old"), fake("new")
    both.open, both.coming = old, new
    assert [both.of(version) for version in ("old", "new", "other")] == [old, new, None]
    both.take_over()
    assert [*both] == [new, old]
    assert [both.of(version) for version in ("old", "new")] == [old, new]
    both.end_leaving()
    assert [both.of(version) for version in ("old", "new")] == [None, new]
    assert (old.is_closed, new.is_closed) == (True, False)


def test_of_two_servers_of_one_version_the_open_one_answers_and_the_queue_is_kept() -> None:
    both, before, again = Servers(), fake("same"), fake("same")
    both.open, both.coming = before, again
    assert both.of("same") is before
    both.take_over()
    assert both.of("same") is again
    assert both.has_other(before)


def test_the_tokens_of_all_servers_are_counted_once(counted: list[int]) -> None:
    both, old, new = Servers(), fake("old", tokens=30), fake("new", tokens=2)
    both.open, both.coming = old, new
    both.count_tokens()
    old.tokens += 5
    both.take_over()
    old.tokens += 4  # of answers that finish while the new model serves
    both.end_leaving()
    assert sum(counted) == 30 + 2 + 9
    both.count_tokens()
    assert sum(counted) == 41


class Switched(Worker):
    """A worker without threads, whose rows want the load `wanted`, and whose Celery may be away."""

    def __init__(self, wanted: str) -> None:
        self.wanted, self.is_away, self.commands = wanted, False, list[tuple[str, str]]()
        self.servers = Servers()
        self._tried = ""
        self._stopping = cast(Any, SimpleNamespace(is_set=lambda: False))
        self._status = cast(Any, SimpleNamespace(status="ready", is_open=True, change=self._change))

    def _change(self, status: str, *_args: Any) -> None:
        self._status.status = status

    def _wanted(self) -> Any:
        return fake("new", self.wanted).model if self.wanted == "new" else fake("old", self.wanted).model

    def _control_celery(self, command: str, queue: str) -> None:
        if self.is_away:
            raise RedisError("Redis is away")
        self.commands.append((command, queue))


def test_a_loaded_model_is_opened_once_redis_answers_and_is_not_loaded_again(counted: list[int]) -> None:
    worker, old, new = Switched(wanted="new"), fake("old"), fake("new")
    worker.servers.open, worker.servers.coming = old, new
    worker.is_away = True
    with pytest.raises(RedisError):
        worker._converge()
    assert worker.servers.open is old, "it answers until the new one is open"
    worker.is_away = False
    worker._converge()
    assert worker.servers.open is new
    assert (old.is_closed, worker.servers.leaving, worker._status.status) == (True, None, "ready")
    assert worker.commands == [("add_consumer", "queue.new"), ("cancel_consumer", "queue.old")]


def test_a_loaded_model_that_is_not_wanted_any_more_is_dropped_and_the_one_before_goes_on(counted: list[int]) -> None:
    worker, old, new = Switched(wanted="old"), fake("old"), fake("new")
    worker.servers.open, worker.servers.coming = old, new
    worker._status.status = "loading"
    worker._converge()
    assert (worker.servers.open, worker.servers.coming) == (old, None)
    assert (new.is_closed, old.is_closed, worker._status.status) == (True, False, "ready")
    assert worker.commands == [("cancel_consumer", "queue.new"), ("add_consumer", "queue.old")]


def test_a_model_that_was_to_leave_in_an_outage_leaves_afterwards(counted: list[int]) -> None:
    worker, old, new = Switched(wanted="new"), fake("old"), fake("new")
    worker.servers.open, worker.servers.leaving = new, old
    worker.is_away = True
    with pytest.raises(RedisError):
        worker._converge()
    assert not old.is_closed
    worker.is_away = False
    worker._converge()
    assert (old.is_closed, worker.servers.leaving) == (True, None)


def test_room_is_needed_for_a_switch_without_interruption(counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    for room, dropped in ((True, False), (False, True)):
        on_transformers = "inference.worker.engines.on_transformers"
        monkeypatch.setattr(f"{on_transformers}.fits_beside", lambda row, served, room=room: room)
        worker, old = Switched(wanted="new"), fake("old")
        worker.servers.open = old
        monkeypatch.setattr(worker, "_succeeds", lambda model, step: step.__name__ == "_prepare")
        worker._converge()
        assert old.is_closed is dropped

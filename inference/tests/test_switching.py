"""A switch of models: the one before is served until the new one is ready, where the memory holds both."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference.broker import connections, heartbeats
from inference.broker.heartbeats import Heartbeat
from inference.models import LanguageModel
from inference.setups.models import Setup
from inference.tests.conftest import Server
from inference.tests.holding_worker import HELD, NO_ROOM, UNWANTED, WAITING
from inference.tests.test_loading import ask, eventually, spoil_a_number, status
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer
from profiles.models import Profile
from steering.models import SAE

HOLDING = "inference.tests.holding_worker"


@pytest.fixture(scope="module")
def follower(processes: Server) -> Iterator[Any]:
    """A worker that follows the rows, and holds the loads that Redis names."""
    worker = processes.start_worker(HOLDING, INFERENCE_MODEL="")
    yield worker
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0


@pytest.fixture
def first(server: Server, follower: Any, tmp_path: Path) -> LanguageModel:
    """Served by the follower, and steered by a profile; the model `second` is registered beside it."""
    connections.connection.delete(HELD, WAITING, UNWANTED)
    for name in ("first", "second"):
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
        tiny_model().save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        LanguageModel.objects.register(str(tmp_path / name), anywhere=True)
    made = LanguageModel.objects.get(name="first")
    made.load()
    made.attach(SAE.objects.register(str(tiny_sae(tmp_path / "sae")), sae_id="tiny", anywhere=True))
    Profile.objects.create_from(name="strong", strengths={3: 9.0}).activate()
    eventually(lambda: status(made) == "ready")
    return made


@pytest.fixture
def second(first: LanguageModel) -> LanguageModel:
    return LanguageModel.objects.get(name="second")


def beat() -> Heartbeat:
    """The follower's heartbeat."""
    [found] = [one for one in heartbeats.live_workers() if not one.is_pinned]
    return found


def hold(model: LanguageModel) -> None:
    """Load it, and return when it is in memory and held there."""
    connections.connection.sadd(HELD, model.name)
    model.load()
    eventually(lambda: bool(connections.connection.sismember(WAITING, model.name)))


def release() -> None:
    connections.connection.delete(HELD)


def answer(server: Server, api_key: str, model: str) -> Any:
    found = ask(server, api_key, model, temperature=0, max_tokens=8)
    assert found.status_code == 200, found.text
    return found.json()["choices"]


def go_back() -> None:
    before = Setup.objects.before()
    assert before
    assert before.restore() == []


def test_the_model_before_answers_until_the_new_one_is_ready_and_then_finishes(
    server: Server, api_key: str, first: LanguageModel, second: LanguageModel
) -> None:
    hold(second)
    told = beat()
    assert (told.model, told.is_open, told.open_load) == ("first", True, first.load_id)
    assert (told.status, told.load) == ("loading", second.load_id)
    assert (status(first), status(second)) == ("registered", "loading")
    answered = ask(server, api_key, "first")
    assert (answered.status_code, answered.headers["X-miLLM-Steering"]) == (200, "none")
    assert ask(server, api_key, "second").status_code == 503
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(ask, server, api_key, "first", logit_bias={"1": -100}, max_tokens=300)
        eventually(lambda: beat().running > 0 or long.done())
        release()
        assert long.result().json()["usage"]["completion_tokens"] == 300
    eventually(lambda: status(second) == "ready")
    assert ask(server, api_key, "second").status_code == 200
    assert ask(server, api_key, "first").status_code == 404
    eventually(lambda: (beat().model, beat().status) == ("second", "ready"))


def test_going_back_during_a_load_is_immediate_and_the_new_model_is_dropped(
    server: Server, api_key: str, first: LanguageModel, second: LanguageModel
) -> None:
    steered = answer(server, api_key, "first")
    hold(second)
    assert answer(server, api_key, "first") != steered, "what steers belongs to the current model"
    go_back()
    assert status(first) == "ready"
    assert answer(server, api_key, "first") == steered
    release()
    eventually(lambda: (beat().model, beat().status, beat().load) == ("first", "ready", first.load_id))
    assert answer(server, api_key, "first") == steered


def test_a_load_that_was_unwanted_for_a_moment_is_tried_again(
    server: Server, api_key: str, first: LanguageModel, second: LanguageModel
) -> None:
    """As where a row is deleted, and registered anew under the same name: to the worker it is the same load."""
    connections.connection.sadd(UNWANTED, second.name)
    second.load()
    eventually(lambda: status(second) == "ready")
    assert not connections.connection.sismember(UNWANTED, second.name)
    assert ask(server, api_key, "second").status_code == 200


def test_after_a_switch_the_setup_before_steers_again_and_so_on(
    server: Server, api_key: str, first: LanguageModel, second: LanguageModel
) -> None:
    steered = answer(server, api_key, "first")
    second.load()
    eventually(lambda: status(second) == "ready")
    go_back()
    eventually(lambda: status(first) == "ready")
    assert answer(server, api_key, "first") == steered
    go_back()
    eventually(lambda: status(second) == "ready")
    assert answer(server, api_key, "second") != steered


def test_after_a_load_that_failed_the_setup_before_steers_again_at_once(
    server: Server, api_key: str, first: LanguageModel, second: LanguageModel, tmp_path: Path
) -> None:
    steered = answer(server, api_key, "first")
    spoil_a_number(tmp_path / "second")  # seen when the weights are in memory
    second.load()
    eventually(lambda: status(second) == "error")
    assert "are not finite" in second.error
    assert (beat().model, beat().is_open) == ("first", True)
    go_back()
    assert status(first) == "ready"
    assert answer(server, api_key, "first") == steered
    second.load()  # a load that failed is tried again when it is asked for again
    eventually(lambda: status(second) == "error")


def test_the_same_model_is_loaded_again_beside_itself(
    server: Server, api_key: str, first: LanguageModel, second: LanguageModel
) -> None:
    steered = answer(server, api_key, "first")
    hold(first)
    assert answer(server, api_key, "first") == steered
    release()
    eventually(lambda: status(first) == "ready")
    assert answer(server, api_key, "first") == steered


def test_without_room_for_both_the_model_before_is_dropped_first(
    server: Server, api_key: str, first: LanguageModel, second: LanguageModel
) -> None:
    others = {one.worker for one in heartbeats.live_workers()}

    def cramped() -> list[Heartbeat]:
        return [one for one in heartbeats.live_workers() if one.worker not in others]

    worker = server.start_worker(HOLDING, INFERENCE_MODEL="", **{NO_ROOM: "1"})
    try:
        eventually(lambda: [one.model for one in cramped()] == ["first"])
        hold(second)
        eventually(lambda: [(one.model, one.is_open, one.status) for one in cramped()] == [("", False, "loading")])
        release()
        eventually(lambda: [(one.model, one.is_open) for one in cramped()] == [("second", True)])
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0

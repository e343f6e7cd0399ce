"""What the worker ends by itself is told, so that nobody waits for it; the engine is played by the test."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inference.broker import stream
from inference.interface import EngineClosed, SamplingParams
from inference.tests.test_load import wait_for
from inference.worker import model_server as module
from inference.worker.model_server import Serving
from inference.worker.side_queue import SideQueue


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """With an engine that never answers."""
    monkeypatch.setattr(module, "prompt_ids", lambda tokenizer, prompt, *options, **named: [1] * prompt["tokens"])
    monkeypatch.setattr(module, "echo_text", lambda texts, prompt, ids: "")
    monkeypatch.setattr(module, "added_before", lambda tokenizer, ids: 0)
    serving = object.__new__(Serving)
    serving.worker, serving.tokenizer, serving._running, serving._heard = "w", cast(Any, None), {}, {}
    serving._rows = 2
    engine = SimpleNamespace(texts=None, cancel=lambda choice: None, submit=lambda request: None, context_length=30)
    serving.engine = cast(Any, engine)
    serving._embedding = SideQueue("embeddings", waiting=1)
    return serving


@pytest.fixture
def message() -> Iterator[dict[str, Any]]:
    request_id = f"ended-{uuid.uuid4().hex}"
    yield {
        "request_id": request_id,
        "inbox": f"inbox-{request_id}",
        "version": "v",
        "deadline": time.time() + 600,
        "prompts": [{"tokens": 1}],
        "choices": 1,
        "steering": None,
        "sampling": asdict(SamplingParams()),
        "max_tokens": 3,
        "stop": [],
        "schema": None,
        "echo": False,
        "top_logprobs": None,
        "template": {},
    }
    stream.connection.delete(f"inbox-{request_id}")


def last(message: dict[str, Any]) -> list[Any]:
    """The last event that was told of it: its kind and data."""
    entries = stream.connection.xrange(message["inbox"])
    return cast(list[Any], json.loads(entries[-1][1]["events"])[-1][1:])


def test_a_request_whose_taker_died_before_it_said_so_fails(serving: Serving, message: dict[str, Any]) -> None:
    assert stream.take(message["request_id"], "dead")
    serving.answer(message)
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "worker_lost")
    assert serving._running == {}


def begin(task: Callable[[dict[str, Any]], None], message: dict[str, Any], serving: Serving) -> threading.Thread:
    thread = threading.Thread(target=task, args=[message])
    thread.start()
    wait_for(lambda: message["request_id"] in serving._running, 10)
    return thread


def test_embeddings_that_a_change_of_the_model_interrupts_are_told_to_have_failed(
    serving: Serving, message: dict[str, Any]
) -> None:
    closing = threading.Event()

    def embeddings(texts: Any) -> Iterator[list[Any]]:
        for index in range(2):
            yield [(index, "x")]
            closing.wait(10)

    serving.encoder = cast(Any, SimpleNamespace(embeddings=embeddings))
    embedding = begin(serving.embed, message | {"prompts": [{"tokens": 1}] * 2}, serving)
    serving._running[message["request_id"]].end(EngineClosed("the engine was stopped"))  # as `close` does
    closing.set()
    embedding.join(10)
    wait_for(lambda: not serving._running, 10)  # it goes on in the thread of embeddings
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "engine_closed")


def test_a_web_that_was_unheard_for_long_is_told_that_its_requests_failed(
    serving: Serving, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ORPHAN_S", 0.05)
    answering = begin(serving.answer, message, serving)
    serving.drop_orphans()
    time.sleep(0.1)
    serving.drop_orphans()
    answering.join(10)
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "broker_unavailable")
    assert serving._running == {}


@pytest.mark.parametrize(("tokens", "choices", "top", "fits"), [(20, 1, 4, True), (21, 1, 4, False), (11, 2, 4, False)])
def test_more_log_probabilities_of_prompts_than_fit_into_the_web_are_refused(
    serving: Serving,
    message: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
    choices: int,
    top: int,
    fits: bool,
) -> None:
    monkeypatch.setattr(module, "ECHO_ENTRIES", 100)
    monkeypatch.setattr(serving, "_echo", lambda *args: {"echo": ""})
    asked = {"echo": True, "top_logprobs": top, "choices": choices, "max_tokens": 0}
    serving.answer(message | asked | {"prompts": [{"tokens": tokens}]})
    kind, data = last(message)
    if fits:
        assert kind == "finished"
    else:
        assert (kind, data["code"], data["param"]) == ("failed", "invalid_request", "logprobs")
        assert "expected at most 100 tokens and alternatives" in data["message"]


@pytest.mark.parametrize(("tokens", "fits"), [(30, True), (31, False)])
def test_an_echo_is_within_the_context(
    serving: Serving, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tokens: int, fits: bool
) -> None:
    asked = {"echo": True, "max_tokens": 0, "prompts": [{"tokens": tokens}]}
    serving.answer(message | asked)
    kind, data = last(message)
    assert kind == ("finished" if fits else "failed")
    if not fits:
        assert (data["code"], data["param"]) == ("context_length_exceeded", "prompt")
        assert "maximum context length is 30 tokens. However, your prompt resulted in 31 tokens" in data["message"]


def test_a_prompt_is_echoed_once_however_many_choices_it_has(
    serving: Serving, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "echo_text", lambda texts, prompt, ids: f"of {prompt['tokens']}")
    serving.answer(message | {"echo": True, "max_tokens": 0, "choices": 3, "prompts": [{"tokens": 1}, {"tokens": 2}]})
    events = [
        event
        for _, fields in stream.connection.xrange(message["inbox"])
        for event in json.loads(fields["events"])
        if event[1] == "started"
    ]
    assert [(data["index"], data.get("echo")) for _, _, data in events] == [
        (0, "of 1"),
        (1, None),
        (2, None),
        (3, "of 2"),
        (4, None),
        (5, None),
    ]


@pytest.mark.parametrize("left_s", [0.2, -1])
def test_a_request_that_its_deadline_ends_is_told_so(serving: Serving, message: dict[str, Any], left_s: float) -> None:
    serving.answer(message | {"deadline": time.time() + left_s})
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "timeout")
    assert serving._running == {}


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_a_worker_whose_clock_jumps_ends_a_request_neither_earlier_nor_later(
    serving: Serving, message: dict[str, Any], jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + jump_s)
    began = time.monotonic()
    serving.answer(message | {"deadline": right() + 0.5})
    assert last(message)[1]["code"] == "timeout"
    assert 0.4 < time.monotonic() - began < 60


def test_embeddings_that_their_deadline_ends_are_told_so(serving: Serving, message: dict[str, Any]) -> None:
    def embeddings(texts: Any) -> Iterator[list[Any]]:
        time.sleep(0.3)
        yield [(0, "x")]

    serving.encoder = cast(Any, SimpleNamespace(embeddings=embeddings))
    serving.embed(message | {"deadline": time.time() + 0.2})
    wait_for(lambda: not serving._running, 10)
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "timeout")

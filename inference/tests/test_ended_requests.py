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

from inference.broker import claims, connections
from inference.broker.messages import EmbedMessage, GenerateMessage, Message
from inference.interface import EngineClosed, SamplingParams
from inference.tests.test_load import wait_for
from inference.worker import job_table
from inference.worker.embedder import Embedder
from inference.worker.engines.on_transformers import TransformersServer
from inference.worker.job_table import JobTable
from inference.worker.requests import builder
from inference.worker.requests.builder import RequestBuilder
from inference.worker.side_queue import SideQueue


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> TransformersServer:
    """One with an engine that never answers."""
    monkeypatch.setattr(builder, "echo_text", lambda texts, prompt, ids: "")
    monkeypatch.setattr(builder, "added_before", lambda tokenizer, ids: 0)
    server, no_model = object.__new__(TransformersServer), cast(Any, None)
    server.jobs = JobTable("w", lambda choice: None)
    server.engine = cast(Any, SimpleNamespace(texts=None, submit=lambda request: None, context_length=30))
    tokenizer = cast(Any, SimpleNamespace(chat_template=None))
    server._builder = RequestBuilder(tokenizer, 2, server.engine, no_model, no_model)
    server._embedder = Embedder(no_model, 2, no_model)
    server._embeddings = SideQueue("embeddings", waiting=1)
    return server


def prompt(tokens: int) -> dict[str, Any]:
    return {"ids": [1] * tokens}


def generate(fields: dict[str, Any]) -> GenerateMessage:
    return GenerateMessage.parse(fields)


def embed(fields: dict[str, Any]) -> EmbedMessage:
    return EmbedMessage.parse({name: fields[name] for name in EmbedMessage.model_fields})


@pytest.fixture
def message() -> Iterator[dict[str, Any]]:
    request_id = f"ended-{uuid.uuid4().hex}"
    yield {
        "request_id": request_id,
        "inbox": f"inbox-{request_id}",
        "version": "v",
        "deadline": time.time() + 600,
        "prompts": [prompt(1)],
        "choices": 1,
        "steering": None,
        "sampling": asdict(SamplingParams()),
        "max_tokens": 3,
        "stop": [],
        "answer_schema": None,
        "echo": False,
        "top_logprobs": None,
        "template": {},
    }
    connections.connection.delete(f"inbox-{request_id}")


def last(message: dict[str, Any]) -> list[Any]:
    """The last event that was told of it: its kind and data."""
    entries = connections.connection.xrange(message["inbox"])
    return cast(list[Any], json.loads(entries[-1][1]["events"])[-1][1:])


def failure_of(message: dict[str, Any]) -> str:
    """The code of the failure by which embeddings end: they go on in a thread, which tells of it as its last deed."""
    wait_for(lambda: last(message)[0] == "failed", 10)
    return cast(str, last(message)[1]["code"])


def test_a_request_whose_taker_died_before_it_said_so_fails(
    server: TransformersServer, message: dict[str, Any]
) -> None:
    assert claims.claim(message["request_id"], "dead").is_first
    server.answer(generate(message))
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "worker_lost")
    silent = (
        "The worker that had this request has not been heard of for 3 seconds, so the request was ended: try again."
    )
    assert data["message"] == silent
    assert not server.jobs


def test_a_claim_and_its_event_take_one_round_trip_to_redis_each(
    server: TransformersServer, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, trips = connections.connection.connection_pool, list[Any]()
    get = pool.get_connection

    def counted(*args: Any, **kwargs: Any) -> Any:
        trips.append(args)
        return get(*args, **kwargs)

    monkeypatch.setattr(pool, "get_connection", counted)
    assert server.jobs.claim(generate(message), 1)
    assert len(trips) == 2


def test_a_request_that_was_cancelled_in_the_queue_is_dropped(
    server: TransformersServer, message: dict[str, Any]
) -> None:
    claims.cancel(message["request_id"])
    server.answer(generate(message))
    assert not connections.connection.exists(message["inbox"])


def begin(task: Callable[[Any], None], message: Message, server: TransformersServer) -> threading.Thread:
    thread = threading.Thread(target=task, args=[message])
    thread.start()
    wait_for(lambda: message.request_id in server.jobs, 10)
    return thread


def test_embeddings_that_a_change_of_the_model_interrupts_are_told_to_have_failed(
    server: TransformersServer, message: dict[str, Any]
) -> None:
    closing = threading.Event()

    def embeddings(texts: Any) -> Iterator[list[Any]]:
        for index in range(2):
            yield [(index, "x")]
            closing.wait(10)

    server._embedder._reader = cast(Any, SimpleNamespace(embeddings=embeddings))
    embedding = begin(server.embed, embed(message | {"prompts": [prompt(1)] * 2}), server)
    server.jobs[message["request_id"]].end(EngineClosed("the engine was stopped"))  # as `close` does
    closing.set()
    embedding.join(10)
    assert failure_of(message) == "engine_closed"
    assert not server.jobs


def test_a_web_that_was_unheard_for_long_is_told_that_its_requests_failed(
    server: TransformersServer, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_table, "ORPHAN_S", 0.05)
    answering = begin(server.answer, generate(message), server)
    server.jobs.drop_orphans()
    time.sleep(0.1)
    server.jobs.drop_orphans()
    answering.join(10)
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "broker_unavailable")
    assert not server.jobs


@pytest.mark.parametrize(("tokens", "choices", "top", "fits"), [(20, 1, 4, True), (21, 1, 4, False), (11, 2, 4, False)])
def test_more_log_probabilities_of_prompts_than_fit_into_the_web_are_refused(
    server: TransformersServer,
    message: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tokens: int,
    choices: int,
    top: int,
    fits: bool,
) -> None:
    monkeypatch.setattr(builder, "ECHO_ENTRIES", 100)
    monkeypatch.setattr(server._builder, "_echo", lambda *args: {"echo": ""})
    asked = {"echo": True, "top_logprobs": top, "choices": choices, "max_tokens": 0}
    server.answer(generate(message | asked | {"prompts": [prompt(tokens)]}))
    kind, data = last(message)
    if fits:
        assert kind == "finished"
    else:
        assert (kind, data["code"], data["param"]) == ("failed", "invalid_request", "logprobs")
        assert "expected at most 100 tokens and alternatives" in data["message"]


@pytest.mark.parametrize(("tokens", "fits"), [(30, True), (31, False)])
def test_an_echo_is_within_the_context(
    server: TransformersServer, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tokens: int, fits: bool
) -> None:
    asked = {"echo": True, "max_tokens": 0, "prompts": [prompt(tokens)]}
    server.answer(generate(message | asked))
    kind, data = last(message)
    assert kind == ("finished" if fits else "failed")
    if not fits:
        assert (data["code"], data["param"]) == ("context_length_exceeded", "prompt")
        assert "maximum context length is 30 tokens. However, your prompt resulted in 31 tokens" in data["message"]


def test_a_prompt_is_echoed_once_however_many_choices_it_has(
    server: TransformersServer, message: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "echo_text", lambda texts, prompt, ids: f"of {len(ids)}")
    asked = {"echo": True, "max_tokens": 0, "choices": 3, "prompts": [prompt(1), prompt(2)]}
    server.answer(generate(message | asked))
    events = [
        event
        for _, fields in connections.connection.xrange(message["inbox"])
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
def test_a_request_that_its_deadline_ends_is_told_so(
    server: TransformersServer, message: dict[str, Any], left_s: float
) -> None:
    server.answer(generate(message | {"deadline": time.time() + left_s}))
    kind, data = last(message)
    assert (kind, data["code"]) == ("failed", "timeout")
    assert not server.jobs


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_a_worker_whose_clock_jumps_ends_a_request_neither_earlier_nor_later(
    server: TransformersServer, message: dict[str, Any], jump_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + jump_s)
    began = time.monotonic()
    server.answer(generate(message | {"deadline": right() + 0.5}))
    assert last(message)[1]["code"] == "timeout"
    assert 0.4 < time.monotonic() - began < 60


def test_embeddings_that_their_deadline_ends_are_told_so(server: TransformersServer, message: dict[str, Any]) -> None:
    def embeddings(texts: Any) -> Iterator[list[Any]]:
        time.sleep(0.3)
        yield [(0, "x")]

    server._embedder._reader = cast(Any, SimpleNamespace(embeddings=embeddings))
    server.embed(embed(message | {"deadline": time.time() + 0.2}))
    assert failure_of(message) == "timeout"
    assert not server.jobs

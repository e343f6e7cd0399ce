"""A request on its way to a worker: refused, failed, cancelled, counted; the worker is played by the test."""

import asyncio
import json
import uuid
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis

from inference import metrics
from inference.broker import claims, connections, counters, heartbeats
from inference.broker import exchange as exchanges
from inference.broker import inbox as module
from inference.broker.errors import RequestFailed
from inference.broker.events import write_events
from inference.broker.exchange import Exchange, closes_exchanges
from inference.broker.heartbeats import Heartbeat
from inference.broker.inbox import inbox
from inference.broker.messages import EmbedMessage
from inference.interface import Event
from inference.openai.chat_answer import ChatAnswer
from inference.openai.endpoint import as_openai_error
from inference.openai.selection import Selection
from inference.openai.views import _sse
from inference.tests.test_inbox import run, until

SCOPE = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
FINISHED = {"index": 0, "reason": "stop", "completion_tokens": 1}
Answer = Callable[[Any], Awaitable[None]]


class Way:
    """From a client's request to the queue of a model, which a worker serves while it beats."""

    def __init__(self) -> None:
        self.id = f"test-{uuid.uuid4().hex}"

    def beat(self) -> None:
        heartbeats.write_heartbeat(Heartbeat(self.id, self.id, "ready", "cpu", 0, 0, 1, 0))
        connections.connection.expire(f"millm:worker:{self.id}", 60)

    def die(self) -> None:
        heartbeats.clear_heartbeat(self.id)

    def queued(self) -> list[dict[str, Any]]:
        """The messages that wait for the worker."""
        sent = [json.loads(one) for one in connections.connection.lrange(self.id, 0, -1)]
        return [json.loads(b64decode(one["body"]))[0][0] for one in sent]

    def tell(self, kind: str, **data: Any) -> None:
        write_events([(self.queued()[0]["inbox"], Event(self.id, kind, data))])

    async def events(self) -> Any:
        selection = Selection(self.id, self.id, "v", self.id, steering=None, profile=None)
        exchange = Exchange(self.id, selection)
        await exchange.send(partial(EmbedMessage, prompts=[]))
        return exchange.events()

    async def answer(self, send: Any) -> None:
        """What a view makes of a request, without Django."""
        try:
            kinds = [event.kind async for event in await self.events()]
        except RequestFailed as error:
            status = as_openai_error(error).status
            await send({"type": "http.response.start", "status": status, "code": error.code})
            return
        await send({"type": "http.response.start", "status": 200, "kinds": kinds})

    async def ask(self, answer: Answer | None = None, send: Any = None, **scope: Any) -> dict[str, Any]:
        """What the client is answered."""
        sent: list[dict[str, Any]] = []

        async def keep(message: dict[str, Any]) -> None:
            sent.append(message)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await (answer or self.answer)(send)

        await closes_exchanges(application)(SCOPE | scope, None, send or keep)
        return sent[0] if sent else {}


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Way]:
    for name, value in {"SILENCE_S": 0.02, "SNAPSHOT_EVERY_S": 0.02, "BLOCK_MS": 20}.items():
        monkeypatch.setattr(module, name, value)
    settings.INFERENCE_HEARTBEAT_S = 0.04
    way = Way()
    yield way
    way.die()
    connections.connection.delete(way.id, f"_kombu.binding.{way.id}")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """How requests ended since the test began: what Prometheus and the dashboard are told, which must be the same."""
    own = uuid.uuid4().hex
    monkeypatch.setattr(counters, "_key", lambda minute: f"millm:traffic:{own}:{minute}")  # a running web counts too

    def now() -> list[dict[str, int]]:
        [family] = metrics.REQUESTS.collect()
        totals = [one for one in family.samples if one.name == "millm_requests_total"]
        told = {one.labels["outcome"]: int(one.value) for one in totals}
        hour = counters.last_hour().total
        return [told, {outcome: getattr(hour, outcome) for outcome in told}]

    before = now()

    def since() -> dict[str, int]:
        prometheus, dashboard = (
            {outcome: count - then[outcome] for outcome, count in one.items() if count != then[outcome]}
            for one, then in zip(now(), before, strict=True)
        )
        assert prometheus == dashboard
        return prometheus

    return since


# --- without a worker ---


def test_without_a_worker_a_request_is_refused_and_never_queued(way: Way, counted: Any) -> None:
    answers = [run(way.ask) for _ in range(3)]
    assert [(one["status"], one["code"]) for one in answers] == [(503, "no_worker")] * 3
    assert way.queued() == []
    assert counted() == {"failed": 3}


def test_beyond_the_bound_of_the_queue_that_no_worker_is_there_is_still_what_is_told(way: Way, settings: Any) -> None:
    settings.INFERENCE_MAX_QUEUE = 1
    connections.connection.rpush(way.id, "left by a worker that died")
    assert run(way.ask)["code"] == "no_worker"


def test_what_the_web_gave_up_is_cancelled_and_logged(way: Way, counted: Any, caplog: pytest.LogCaptureFixture) -> None:
    """So that the next worker does not answer it for nobody."""
    way.beat()

    async def test() -> dict[str, Any]:
        asking = asyncio.create_task(way.ask())
        await until(way.queued)
        way.die()
        return await asking

    assert run(test)["code"] == "no_worker"
    assert claims.is_cancelled(way.id)
    assert counted() == {"failed": 1}
    assert f"{way.id}: no_worker" in caplog.messages


# --- by a worker's word ---


@pytest.mark.parametrize(
    ("code", "status", "outcome"), [("context_length_exceeded", 400, "refused"), ("out_of_memory", 503, "failed")]
)
def test_what_the_worker_ended_is_not_cancelled(way: Way, counted: Any, code: str, status: int, outcome: str) -> None:
    way.beat()

    async def test() -> dict[str, Any]:
        asking = asyncio.create_task(way.ask())
        await until(way.queued)
        way.tell("claimed", worker=way.id)
        way.tell("failed", code=code, message="")
        return await asking

    answer = run(test)
    assert (answer["status"], answer["code"]) == (status, code)
    assert not claims.is_cancelled(way.id)
    assert counted() == {outcome: 1}


def test_an_answer_is_counted_as_one_and_a_failure_in_its_stream_as_one(way: Way, counted: Any) -> None:
    way.beat()

    async def streamed(send: Any) -> None:
        events = await way.events()
        await send({"type": "http.response.start", "status": 200})
        with pytest.raises(RequestFailed) as failed:
            [event async for event in events]
        exchanges.stream_failed(as_openai_error(failed.value).status)

    async def test(answer: Answer | None, last: str, **data: Any) -> None:
        asking = asyncio.create_task(way.ask(answer))
        await until(way.queued)
        way.tell(last, **data)
        assert (await asking)["status"] == 200
        connections.connection.delete(way.id)

    run(lambda: test(None, "finished", **FINISHED))
    assert counted() == {"answered": 1}
    run(lambda: test(streamed, "failed", code="out_of_memory", message=""))
    assert counted() == {"answered": 1, "failed": 1}


def test_an_error_of_ours_in_a_stream_is_an_event_and_counted_as_a_failure(way: Way, counted: Any) -> None:
    way.beat()
    chunks: list[bytes] = []

    async def no_details() -> dict[str, Any]:
        return {}

    async def streamed(send: Any) -> None:
        answer = ChatAnswer(way.id, "demo", "fp", [], streamed=True)  # with no choice: the first event is one too many
        events = await way.events()
        await send({"type": "http.response.start", "status": 200})
        first = Event(way.id, "started", {"index": 0, "prompt_tokens": 1, "cached_tokens": 0})
        chunks.extend([chunk async for chunk in _sse(answer, first, events, no_details, False)])

    run(lambda: way.ask(streamed))
    assert json.loads(chunks[-1].removeprefix(b"data: "))["error"]["code"] == "internal_error"
    assert claims.is_cancelled(way.id)
    assert counted() == {"failed": 1}


# --- without an exchange ---


@pytest.mark.parametrize(
    ("status", "scope", "outcome"),
    [
        (401, {}, {"refused": 1}),
        (409, {"path": "/admin/chat/completions"}, {"refused": 1}),
        (503, {"path": "/v1/embeddings"}, {"failed": 1}),
        (301, {}, {}),
        (404, {"path": "/api/profiles"}, {}),
        (404, {"path": "/v1/nonsense"}, {}),
        (401, {"method": "GET", "path": "/v1/models"}, {}),
    ],
)
def test_what_fails_on_its_way_to_a_worker_is_counted_too(
    way: Way, counted: Any, status: int, scope: dict[str, str], outcome: dict[str, int]
) -> None:
    async def refuse(send: Any) -> None:
        await send({"type": "http.response.start", "status": status})

    run(lambda: way.ask(refuse, **scope))
    assert counted() == outcome


# --- the client goes away, Redis too ---


def test_whoever_takes_nothing_for_long_is_gone(way: Way, counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "SEND_S", 0.05)
    way.beat()

    async def stuck(message: Any) -> None:
        await asyncio.Event().wait()

    async def streamed(send: Any) -> None:
        await way.events()
        try:
            await send({"type": "http.response.start", "status": 200})
        except asyncio.CancelledError:
            return  # as Django does, for which its client vanished

    run(lambda: way.ask(streamed, stuck))
    assert claims.is_cancelled(way.id)
    assert counted() == {"cancelled": 1}


@pytest.mark.parametrize("moment", ["before it is sent", "while it is read"])
def test_a_client_that_goes_is_noticed_though_the_view_never_hears_of_its_cancellation(
    way: Way, counted: Any, moment: str
) -> None:
    """As redis-py loses one on Python 3.11 that comes when a command was sent just now."""
    way.beat()

    async def test() -> None:
        is_gone = asyncio.Event()

        async def receive() -> dict[str, str]:
            await is_gone.wait()
            return {"type": "http.disconnect"}

        async def deaf(scope: Any, receive: Any, send: Any) -> None:
            hearing = asyncio.create_task(receive())
            if moment == "before it is sent":
                is_gone.set()
                await hearing
            await way.answer(send)

        async def request() -> None:
            await closes_exchanges(deaf)(SCOPE, receive, ignore)

        asking = asyncio.create_task(request())
        await until(way.queued)
        is_gone.set()
        await asking

    run(test)
    assert claims.is_cancelled(way.id)
    assert counted() == {"cancelled": 1}


def test_a_connection_that_closes_after_its_answer_is_no_cancellation(way: Way, counted: Any) -> None:
    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401})
        await send({"type": "http.response.body", "body": b""})
        await receive()

    run(lambda: closes_exchanges(refuse)(SCOPE, receive, ignore))
    assert counted() == {"refused": 1}


async def ignore(message: Any) -> None:
    """What a connection that is closed does with what is sent."""


def test_with_redis_away_the_end_of_a_request_is_quiet_and_it_is_cancelled_later(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    way.beat()
    cancel = claims.cancel

    def away(*request_ids: str) -> None:
        raise redis.ConnectionError("away")

    async def vanish(send: Any) -> None:
        await way.events()
        monkeypatch.setattr(claims, "cancel", away)

    async def test() -> None:
        await way.ask(vanish)
        assert not claims.is_cancelled(way.id)
        monkeypatch.setattr(claims, "cancel", cancel)
        await until(lambda: claims.is_cancelled(way.id))
        assert way.id not in inbox()._replies

    run(test)

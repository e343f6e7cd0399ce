"""A request that names a profile activates it when a worker has begun to answer; a refused one changes nothing."""

import asyncio
import json
import uuid
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from inference.broker import claims, connections, heartbeats
from inference.broker import inbox as module
from inference.broker.events import write_events
from inference.broker.heartbeats import Heartbeat
from inference.demo.tiny import FILES
from inference.interface import Event
from inference.models import LanguageModel
from inference.openai.endpoint import in_database
from inference.tests.conftest import Server, say
from inference.tests.test_inbox import until
from millm_site.asgi import application
from profiles.current import detach_sae
from profiles.models import Profile
from steering.models import SAE, SteeringState

MESSAGES = [{"role": "user", "content": "Tell me something."}]
FINISHED = {"index": 0, "reason": "stop", "completion_tokens": 1}


def active() -> str | None:
    profile = Profile.objects.active()
    return profile.name if profile else None


def nothing_changed() -> bool:
    return active() is None and SteeringState.objects.load().version == 0


# --- by a real worker ---


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/chat/completions", json={"model": "demo", "messages": MESSAGES, "temperature": 0} | body)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"max_tokens": 1_000_000}, 400, "context_length_exceeded"),
        ({"max_tokens": 1_000_000, "stream": True}, 400, "context_length_exceeded"),
        ({"logit_bias": {"999999": 1}}, 400, "invalid_request"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "made up"}}}},
            400,
            "invalid_request",
        ),
    ],
)
def test_what_a_worker_refuses_activates_nothing(
    client: httpx.Client, body: dict[str, Any], status: int, code: str
) -> None:
    answer = ask(client, profile="ocean", **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert nothing_changed()


@pytest.mark.parametrize("streams", [False, True])
def test_an_accepted_request_activates_for_good_and_is_steered_by_it(client: httpx.Client, streams: bool) -> None:
    answer = ask(client, profile="ocean", stream=streams)
    assert answer.status_code == 200
    assert active() == "ocean"
    by_model_id = ask(client, model="demo:ocean", stream=streams)
    for header in ("X-miLLM-Steering", "X-miLLM-Profile"):
        assert answer.headers[header] == by_model_id.headers[header] == ask(client).headers[header]
    version = Profile.history.filter(history_change_reason="activated").get()
    assert (version.door, version.agent.split(" (")[0]) == ("chat", "key-owner, key test")


def test_simultaneous_requests_are_each_steered_by_the_profile_they_name(client: httpx.Client) -> None:
    names = ["ocean", "space", "music", "winter"] * 4
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda name: ask(client, profile=name, max_tokens=30), names))
    alone = {name: ask(client, model=f"demo:{name}", max_tokens=30) for name in set(names)}
    for name, answer in zip(names, together, strict=True):
        assert answer.headers["X-miLLM-Profile"] == name
        assert answer.json()["choices"] == alone[name].json()["choices"]
    profile = Profile.objects.active()
    assert profile is not None
    assert not profile.differs_from(SteeringState.objects.load())


# --- by a worker that the test plays ---


class Played:
    """A model with the demo's shape, current, with an SAE and the profile `mine`; its worker beats and begins nothing.

    It is asked in this process, as a client asks a web.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self.model = LanguageModel.objects.register(
            str(FILES / "model"), name=f"played-{uuid.uuid4().hex}", anywhere=True
        )
        self.model.make_current()
        self.model.attach(SAE.objects.get())
        Profile.objects.create_from(name="mine", strengths={1: 2.0})

    def beat(self) -> None:
        heartbeats.write_heartbeat(Heartbeat(self.model.name, self.model.name, "ready", "cpu", 0, 0, 1, 0))
        connections.connection.expire(f"millm:worker:{self.model.name}", 60)

    def queued(self) -> list[dict[str, Any]]:
        sent = [json.loads(one) for one in connections.connection.lrange(self.model.queue, 0, -1)]
        return [json.loads(b64decode(one["body"]))[0][0] for one in sent]

    def tell(self, kind: str, **data: Any) -> None:
        [message] = self.queued()
        write_events([(message["inbox"], Event(message["request_id"], kind, data))])

    def answer(self) -> None:
        self.tell("started", index=0, prompt_tokens=1, cached_tokens=0)
        self.tell("finished", **FINISHED)

    async def ask(self, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            asked = {"model": self.model.name, "messages": MESSAGES, "profile": "mine"} | body
            return await client.post("/v1/chat/completions", json=asked)

    def run(self, meanwhile: Callable[[], Awaitable[None]] | None = None, **body: Any) -> httpx.Response:
        """The answer to a request; `meanwhile` is done while it waits in the queue."""

        async def test() -> httpx.Response:
            async with asyncio.timeout(20):
                asking = asyncio.create_task(self.ask(**body))
                if meanwhile:
                    await until(self.queued)
                    await meanwhile()
                return await asking

        return asyncio.run(test())


@pytest.fixture
def played(demo: LanguageModel, api_key: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Played]:
    for name, value in {"SILENCE_S": 0.02, "SNAPSHOT_EVERY_S": 0.02, "BLOCK_MS": 20}.items():
        monkeypatch.setattr(module, name, value)
    made = Played(api_key)
    made.beat()
    yield made
    heartbeats.clear_heartbeat(made.model.name)
    connections.connection.delete(made.model.queue, f"_kombu.binding.{made.model.queue}")


def test_without_a_worker_nothing_is_activated(played: Played) -> None:
    heartbeats.clear_heartbeat(played.model.name)
    answer = played.run()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_worker")
    assert nothing_changed()


def test_a_model_that_failed_to_load_is_told_to_whoever_asks_it(played: Played) -> None:
    heartbeats.clear_heartbeat(played.model.name)
    say(played.model, "error", error="the file is cut off")
    answer = played.run()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "no_worker")
    # A model that a worker of the session serves may be named after it.
    assert error["message"].startswith(f"{played.model.name} failed to load: the file is cut off.")


def test_a_full_queue_activates_nothing(played: Played, settings: Any) -> None:
    settings.INFERENCE_MAX_QUEUE = 1
    connections.connection.rpush(played.model.queue, "waits")
    answer = played.run()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert nothing_changed()


def test_while_it_waits_for_a_worker_nothing_is_activated(played: Played) -> None:
    seen: list[str | None] = []

    async def meanwhile() -> None:
        seen.append(await in_database(active))
        played.answer()

    answer = played.run(meanwhile)
    assert answer.status_code == 200, answer.text
    assert seen == [None]
    assert active() == "mine"


def test_what_no_longer_fits_when_a_worker_begins_is_refused_and_cancelled(played: Played) -> None:
    async def meanwhile() -> None:
        await in_database(detach_sae)
        played.answer()

    answer = played.run(meanwhile)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "profile_incompatible")
    assert claims.is_cancelled(played.queued()[0]["request_id"])
    assert active() is None


def test_a_profile_that_is_deleted_meanwhile_is_refused(played: Played) -> None:
    async def meanwhile() -> None:
        await in_database(lambda: Profile.objects.named("mine").delete())
        played.answer()

    answer = played.run(meanwhile)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "profile_not_found")
    assert nothing_changed()


def test_a_stream_that_was_kept_alive_activates_at_its_first_token_in_the_name_of_its_key(
    played: Played, settings: Any
) -> None:
    settings.INFERENCE_KEEPALIVE_S = 0.1

    async def meanwhile() -> None:
        await asyncio.sleep(0.4)
        assert await in_database(active) is None
        played.answer()

    answer = played.run(meanwhile, stream=True)
    assert answer.text.startswith(": waiting\n\n")
    assert answer.text.endswith("data: [DONE]\n\n")
    assert active() == "mine"
    version = Profile.history.filter(history_change_reason="activated").get()
    assert (version.door, version.agent.split(" (")[0]) == ("chat", "key-owner, key test")

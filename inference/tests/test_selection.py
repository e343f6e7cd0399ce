"""Choosing a model and what steers it: of one moment, without Redis where that is possible."""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis import ConnectionError as RedisAway

from inference.broker import heartbeats
from inference.demo.tiny import FILES
from inference.models import LanguageModel, LanguageModelManager
from inference.openai.errors import OpenAIError
from inference.openai.selection import select
from profiles.managers import ProfileQuerySet
from profiles.models import Profile
from steering.models import SAE
from steering.saes import SAEManager

pytestmark = pytest.mark.usefixtures("demo")


def chosen(model_id: str) -> str | None:
    user: Any = get_user_model()(username="somebody")
    return select(user, model_id).profile


def test_the_current_model_and_its_profiles_are_found_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def away() -> list[heartbeats.Heartbeat]:
        asked.append("workers")
        raise RedisAway("away")

    monkeypatch.setattr(heartbeats, "live_workers", away)
    assert chosen("demo") is None
    assert chosen("demo:ocean") == "ocean"
    assert asked == []
    with pytest.raises(RedisAway):
        chosen("another")


MODEL, SAE_ROW = "steering_languagemodel", "steering_sae"
PROFILE, LIVE = "profiles_profile", "steering_steeringstate"


@pytest.mark.parametrize(
    ("active", "asked", "read"),
    [
        (False, ("demo",), [MODEL, LIVE]),
        (True, ("demo",), [MODEL, LIVE, SAE_ROW, PROFILE]),
        (True, ("demo:ocean",), [MODEL, PROFILE, SAE_ROW]),
        (True, ("demo", "ocean"), [MODEL, PROFILE, SAE_ROW]),
        (True, ("demo", None, {"features": {"5": 2.0}}), [MODEL, SAE_ROW]),
    ],
)
def test_each_row_that_a_request_needs_is_read_once(active: bool, asked: tuple[Any, ...], read: list[str]) -> None:
    if active:
        Profile.objects.get(name="ocean").activate()
    with CaptureQueriesContext(connection) as queries:
        select(root(), *asked)
    selects = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert [one.partition(' FROM "')[2].partition('"')[0] for one in selects] == read


def test_no_transaction_is_open_while_redis_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def live() -> list[heartbeats.Heartbeat]:
        asked.append(connection.in_atomic_block)
        return []

    monkeypatch.setattr(heartbeats, "live_workers", live)
    with pytest.raises(OpenAIError, match="There is no profile `unknown`"):
        chosen("demo:unknown")
    assert asked == [False]


def test_a_served_model_whose_name_looks_like_a_profile_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = LanguageModel.objects.get(name="demo").source
    LanguageModel.objects.register(source, name="demo:more", anywhere=True)
    beat = heartbeats.Heartbeat("w", "demo:more", "ready", "cpu", 0, 0, 1, 0)
    monkeypatch.setattr(heartbeats, "live_workers", lambda: [beat])
    user: Any = get_user_model()(username="somebody")
    assert select(user, "demo:more").served == "demo:more"


READS: dict[str, tuple[type, str]] = {
    "model": (LanguageModelManager, "current"),
    "SAE": (SAEManager, "attached"),
    "profile": (ProfileQuerySet, "active"),
}


def in_another_session(change: Callable[[], None]) -> None:
    """Commit `change` from a thread, and so a connection, of its own."""

    def run() -> None:
        try:
            change()
        finally:
            connection.close()

    thread = Thread(target=run)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive(), "the change waits for the request's transaction"


@pytest.mark.parametrize(
    ("read", "name"), [("model", None), ("SAE", None), ("profile", None), ("model", "ocean"), ("SAE", "ocean")]
)
def test_what_is_loaded_attached_and_activated_between_two_reads_is_of_the_next_request(
    monkeypatch: pytest.MonkeyPatch, read: str, name: str | None
) -> None:
    Profile.objects.get(name="ocean").activate()
    other = LanguageModel.objects.register(str(FILES / "model"), name="other", anywhere=True)
    sae = SAE.objects.get()
    sae.pk, sae.is_attached = "other-sae", False
    sae.save(force_insert=True)

    def switch() -> None:
        other.load()
        other.attach(sae)
        Profile.objects.create_from(name="others", strengths={1: 1.0}).activate()

    manager, method = READS[read]
    found = getattr(manager, method)

    def interrupted(self: Any) -> Any:
        monkeypatch.undo()
        row = found(self)
        in_another_session(switch)
        return row

    before = select(root(), "demo", name)
    monkeypatch.setattr(manager, method, interrupted)
    assert select(root(), "demo", name) == before
    assert before.steering is not None
    assert (before.steering.parts[0].sae_id, before.profile) == ("demo-sae", "ocean")
    after = select(root(), "other")
    assert after.steering is not None
    assert (after.served, after.steering.parts[0].sae_id, after.profile) == ("other", "other-sae", "others")


def root() -> Any:
    return get_user_model()(username="root", is_superuser=True, is_active=True)

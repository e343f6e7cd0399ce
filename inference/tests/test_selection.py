"""What choosing a model costs: which ids ask Redis, and that no transaction waits for it."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from redis import ConnectionError as RedisAway

from inference import stream
from inference.models import LanguageModel
from inference.openai.errors import OpenAIError
from inference.openai.selection import select

pytestmark = pytest.mark.usefixtures("demo")


def chosen(model_id: str) -> str | None:
    user: Any = get_user_model()(username="somebody")
    return select(user, model_id).profile


def test_the_current_model_and_its_profiles_are_found_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[stream.Heartbeat]:
        raise RedisAway("away")

    monkeypatch.setattr(stream, "live_workers", away)
    assert chosen("demo") is None
    assert chosen("demo:ocean") == "ocean"
    with pytest.raises(RedisAway):
        chosen("another")


def test_no_transaction_is_open_while_redis_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def live() -> list[stream.Heartbeat]:
        asked.append(connection.in_atomic_block)
        return []

    monkeypatch.setattr(stream, "live_workers", live)
    with pytest.raises(OpenAIError, match="does not exist"):
        chosen("demo:unknown")
    assert asked == [False]


def test_a_served_model_whose_name_looks_like_a_profile_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = LanguageModel.objects.get(name="demo").source
    LanguageModel.objects.register(source, name="demo:more", anywhere=True)
    beat = stream.Heartbeat("w", "demo:more", "ready", "cpu", 0, 0, 1, 0)
    monkeypatch.setattr(stream, "live_workers", lambda: [beat])
    user: Any = get_user_model()(username="somebody")
    assert select(user, "demo:more").served == "demo:more"

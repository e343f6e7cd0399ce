"""Stored responses: their owners, their conversations, their ends, and how they expire."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from inference.responses.ids import new_response_id
from inference.responses.models import ResponseNotFound, ResponseUnfinished, StoredResponse
from inference.worker.expiry import Expiry
from steering.errors import NothingToCancel

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Any:
    return get_user_model().objects.create_user("owner")


@pytest.fixture
def other() -> Any:
    return get_user_model().objects.create_user("other")


def item(text: str) -> dict[str, Any]:
    return {"id": f"msg_{text}", "type": "message", "text": text}


def body(text: str = "", **more: Any) -> dict[str, Any]:
    return {"id": "", "status": "completed", "output": [item(f"{text}!")] if text else [], **more}


def stored(
    owner: Any, text: str = "a", previous: StoredResponse | None = None, status: str = "completed"
) -> StoredResponse:
    row = StoredResponse.following(owner, new_response_id(), previous)
    row.input_items = [item(text)]
    row.end(status, body(text))
    return row


def begun(owner: Any) -> StoredResponse:
    row = StoredResponse.following(owner, new_response_id(), None)
    row.input_items = [item("a")]
    row.begin(body(status="in_progress"), "millm:inbox:x")
    return row


def found(owner: Any) -> set[str]:
    return {*StoredResponse.objects.of(owner).values_list("pk", flat=True)}


def texts(row: StoredResponse) -> list[str]:
    return [one["text"] for one in row.history()]


def again(row: StoredResponse) -> StoredResponse:
    return StoredResponse.objects.get(pk=row.pk)


# --- owners ---


def test_a_response_is_its_owners_alone(owner: Any, other: Any) -> None:
    row = stored(owner)
    assert StoredResponse.objects.with_id(owner, row.pk) == row
    assert StoredResponse.objects.items(owner, ["msg_a"]) == {}
    for user, one in ((other, row.pk), (owner, new_response_id()), (owner, "resp_\0"), (owner, "resp_" + "١" * 32)):
        with pytest.raises(ResponseNotFound, match="there is no response"):
            StoredResponse.objects.with_id(user, one)


def test_an_item_is_found_by_its_id_which_names_its_response(owner: Any, other: Any) -> None:
    row = stored(owner)
    named = f"msg_{row.pk.removeprefix('resp_')}o0"
    row.body["output"] = [item("b") | {"id": named}]
    row.end("completed", row.body)
    assert StoredResponse.objects.items(owner, [named, "msg_x"]) == {named: item("b") | {"id": named}}
    assert StoredResponse.objects.items(other, [named]) == {}


def test_responses_of_a_deleted_user_are_deleted(owner: Any) -> None:
    stored(owner)
    owner.delete()
    assert not StoredResponse.objects.exists()


def test_any_text_can_be_stored(owner: Any) -> None:
    row = stored(owner, "a\0b😀 ü")
    assert again(row).input_items == row.input_items


# --- conversations ---


def test_a_conversation_is_gone_on_from_each_of_its_responses(owner: Any) -> None:
    first = stored(owner, "a")
    second = stored(owner, "b", first)
    third, branch = stored(owner, "c", second), stored(owner, "d", first)
    assert texts(third) == ["a", "a!", "b", "b!", "c", "c!"]
    assert texts(branch) == ["a", "a!", "d", "d!"]
    assert texts(first) == ["a", "a!"]


def test_a_conversation_with_a_deleted_response_is_not_gone_on_from(owner: Any) -> None:
    first = stored(owner, "a")
    second = stored(owner, "b", first)
    third = stored(owner, "c", second)
    second.delete()
    with pytest.raises(ResponseNotFound, match="an earlier response"):
        third.history()
    assert third.path() == [third]
    assert texts(first) == ["a", "a!"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "in_progress"])
def test_a_response_without_a_good_end_is_not_gone_on_from(owner: Any, status: str) -> None:
    row = stored(owner, status=status)
    with pytest.raises(ResponseUnfinished, match=status):
        row.history()
    assert texts(stored(owner, status="incomplete"))


# --- its life ---


def test_a_response_in_progress_is_shown_and_ends(owner: Any) -> None:
    row = begun(owner)
    assert again(row).as_json()["status"] == "in_progress"
    row.end("completed", body("b"))
    shown = again(row)
    assert (shown.as_json()["status"], shown.inbox) == ("completed", "")
    assert shown.as_json()["output"] == [item("b!")]


def test_a_cancelled_response_stays_cancelled_with_what_it_had(owner: Any) -> None:
    row = begun(owner)
    again(row).cancel()
    row.end("completed", body("b"))
    shown = again(row).as_json()
    assert (shown["status"], shown["output"]) == ("cancelled", [item("b!")])
    again(row).check_cancellable()


def test_what_has_ended_is_not_cancelled(owner: Any) -> None:
    row = stored(owner)
    with pytest.raises(NothingToCancel, match="completed already"):
        row.check_cancellable()
    row.cancel()
    assert row.status == "completed"


def test_a_deleted_response_stays_deleted_when_it_ends(owner: Any) -> None:
    row = begun(owner)
    again(row).delete()
    row.end("completed", body("b"))
    assert not StoredResponse.objects.exists()


def test_a_response_whose_web_is_gone_has_failed(owner: Any, settings: Any) -> None:
    row = begun(owner)
    row.created_at = timezone.now() - timedelta(seconds=settings.INFERENCE_REQUEST_TIMEOUT_S + 61)
    row.save()
    shown = again(row).as_json()
    assert (shown["status"], shown["error"]["code"]) == ("failed", "server_error")


# --- expiry and the bound ---


def expire(*rows: StoredResponse) -> None:
    StoredResponse.objects.filter(pk__in=[row.pk for row in rows]).update(expires_at=timezone.now())


def test_a_response_expires_after_the_days_of_the_setting_and_is_deleted(owner: Any, settings: Any) -> None:
    settings.INFERENCE_RESPONSES_KEPT_DAYS = 7
    row, kept = stored(owner), stored(owner)
    assert timedelta(days=6.9) < row.expires_at - timezone.now() <= timedelta(days=7)
    expire(row)
    assert found(owner) == {kept.pk}
    with pytest.raises(ResponseNotFound):
        StoredResponse.objects.with_id(owner, row.pk)
    assert StoredResponse.objects.delete_expired() == 1
    assert [*StoredResponse.objects.all()] == [kept]


def test_workers_delete_what_has_expired_once_a_minute(owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expiry = Expiry()
    expire(stored(owner))
    assert expiry(lambda: False) is False
    assert not StoredResponse.objects.exists()
    expire(stored(owner))
    expiry(lambda: False)
    assert StoredResponse.objects.exists()
    monkeypatch.setattr(time, "monotonic", lambda: expiry._due)
    expiry(lambda: False)
    assert not StoredResponse.objects.exists()


def test_a_conversation_is_kept_as_long_as_its_newest_response(owner: Any) -> None:
    first, lonely = stored(owner, "a"), stored(owner, "x")
    StoredResponse.objects.update(expires_at=timezone.now() + timedelta(days=2))
    second = stored(owner, "b", first)
    assert again(first).expires_at == again(second).expires_at
    assert again(lonely).expires_at < again(first).expires_at


def test_the_oldest_responses_beyond_the_bound_of_their_owner_are_deleted(
    owner: Any, other: Any, settings: Any
) -> None:
    rows = [stored(owner, "a" * 100) for _ in range(4)]
    theirs = [stored(other, "a" * 100) for _ in range(2)]
    settings.INFERENCE_RESPONSES_MAX_BYTES = 2 * rows[0].size
    assert StoredResponse.objects.delete_expired() == 2
    assert found(owner) == {row.pk for row in rows[2:]}
    assert found(other) == {row.pk for row in theirs}

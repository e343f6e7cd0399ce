"""Stored responses in the admin: who sees them, what their pages show, and that nothing but a deletion changes them."""

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client

from inference.responses.ids import new_response_id
from inference.responses.models import StoredResponse
from inference.tests.test_models_admin import staff, text
from millm_site.accounts.groups import make_groups

pytestmark = pytest.mark.django_db

LIST = "/admin/inference/storedresponse/"


def message(role: str, words: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "text", "text": words}]}


def stored(previous: StoredResponse | None = None, words: str = "Hello <b>", response_id: str = "") -> StoredResponse:
    owner, _ = get_user_model().objects.get_or_create(username="ada")
    row = StoredResponse.following(owner, response_id or new_response_id(), previous)
    row.input_items = [message("user", words)]
    call = {"type": "function_call", "name": "tide", "arguments": "{}"}
    row.end("completed", {"model": "demo:ocean", "output": [message("assistant", "The sea."), call]})
    return row


def page(row: StoredResponse) -> str:
    return f"{LIST}{quote(row.pk)}/change/"


def test_the_list_has_owner_model_and_status_and_reads_no_texts(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    rows = [stored() for _ in range(3)]
    with django_assert_max_num_queries(12):
        shown = text(admin_client.get(LIST))
    for row in rows:
        assert row.pk in shown
    assert shown.count("demo:ocean") == 3
    assert "completed" in shown
    assert "The sea." not in shown
    assert "Hello" not in shown
    assert rows[0].pk in text(admin_client.get(LIST, {"q": "ada"}))
    assert rows[0].pk not in text(admin_client.get(LIST, {"q": "grace"}))


def test_the_page_has_the_texts_folded_and_links_to_the_previous_response(admin_client: Client) -> None:
    first = stored(response_id=f"resp_40{'0' * 30}")  # the admin reads an underscore with two digits as a character
    second = stored(first, words="And\0 then?")
    shown = text(admin_client.get(page(first)))
    assert "<details><summary" in shown
    assert "(&#x27;completed" not in shown
    assert "<details open" not in shown
    for part in ("Hello &lt;b&gt;", "The sea.", "[user]", "[assistant]", "[function_call]", "tide"):
        assert part in shown, part
    assert "none: it begins the conversation" in shown
    assert f'href="{page(first)}"' in text(admin_client.get(page(second)))
    StoredResponse.objects.filter(pk=first.pk).delete()
    assert f"{first.pk} (deleted)" in text(admin_client.get(page(second)))


def test_a_long_text_is_cut(admin_client: Client) -> None:
    shown = text(admin_client.get(page(stored(words="x" * 150_000))))
    assert "more characters" in shown
    assert len(shown) < 200_000


def test_nothing_is_made_or_changed(admin_client: Client) -> None:
    row = stored()
    before = StoredResponse.objects.values().get()
    assert admin_client.get(f"{LIST}add/").status_code == 403
    assert admin_client.post(f"{LIST}add/", {"owner": row.owner_id}).status_code == 403
    assert admin_client.post(page(row), {"status": "failed"}).status_code == 403
    assert 'name="_save"' not in text(admin_client.get(page(row)))
    assert StoredResponse.objects.values().get() == before


def test_a_response_is_deleted_after_a_confirmation_alone_or_among_others(admin_client: Client) -> None:
    one, two, three = stored(), stored(), stored()
    asked = text(admin_client.get(f"{LIST}{quote(one.pk)}/delete/"))
    assert f"Response {one.pk} of ada" in asked
    assert "Requests that go on from a deleted response are refused." in asked
    admin_client.post(f"{LIST}{quote(one.pk)}/delete/", {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": [two.pk], "index": "0"}
    assert f"Response {two.pk} of ada" in text(admin_client.post(LIST, chosen))
    admin_client.post(LIST, {**chosen, "post": "yes"})
    assert [*StoredResponse.objects.all()] == [three]


def test_only_users_with_the_permission_see_them(admin_client: Client) -> None:
    row = stored()
    for client in (staff(), staff("view_languagemodel", "view_profile", "view_sae")):
        assert client.get(LIST).status_code == client.get(page(row)).status_code == 403
        assert LIST not in text(client.get("/admin/"))
    reader = staff("view_storedresponse")
    assert LIST in text(reader.get("/admin/"))
    assert reader.get(page(row)).status_code == 200
    assert reader.post(f"{LIST}{quote(row.pk)}/delete/", {"post": "yes"}).status_code == 403
    deleter = staff("view_storedresponse", "delete_storedresponse")
    assert deleter.post(f"{LIST}{quote(row.pk)}/delete/", {"post": "yes"}).status_code == 302
    assert not StoredResponse.objects.exists()


def test_of_the_ready_made_groups_administrators_see_them() -> None:
    Group.objects.all().delete()
    make_groups()
    may = {"view_storedresponse", "delete_storedresponse"}
    for group in Group.objects.all():
        held = may.intersection(group.permissions.values_list("codename", flat=True))
        assert held == (may if group.name == "Administrators" else set())

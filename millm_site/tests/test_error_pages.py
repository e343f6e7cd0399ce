"""403 and 404 in the admin: in its look, with what to do and a way back."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> Client:
    """Staff without any permission."""
    client = Client()
    client.force_login(get_user_model().objects.create_user("viewer", is_staff=True))
    return client


def test_an_unknown_page_of_the_admin_has_the_menu_and_a_way_back(admin_client: Client) -> None:
    answer = admin_client.get("/admin/nowhere/")
    page = answer.content.decode()
    assert answer.status_code == 404
    assert "There is no such page" in page
    assert 'href="/admin/"' in page
    assert "Playground" in page


def test_what_a_user_may_not_do_says_who_can_change_that(viewer: Client) -> None:
    answer = viewer.get("/admin/profiles/profile/")
    page = answer.content.decode()
    assert answer.status_code == 403
    assert "viewer may not do this" in page
    assert "Ask an administrator" in page
    assert 'href="/admin/"' in page


@pytest.mark.parametrize(
    ("path", "permission"),
    [
        ("/admin/profiles/profile/", "view profile"),
        ("/admin/profiles/profile/add/", "add profile"),
        ("/admin/profiles/profile/blend/", "add profile"),
        ("/admin/profiles/profile/compare/", "view profile"),
        ("/admin/steering/steeringstate/", "view live steering"),
        ("/admin/steering/steeringstate/1/history/", "view live steering"),
        ("/admin/explore/", "view feature label"),
        ("/admin/steering/feature/maximum/", "view feature label"),
        ("/admin/dashboard/profiles", "view profile"),
    ],
)
def test_a_refusal_names_the_permission_that_is_missing(viewer: Client, path: str, permission: str) -> None:
    answer = viewer.get(path)
    assert answer.status_code == 403
    assert f"“Can {permission}”. Ask an administrator for it." in answer.content.decode()


def test_a_refused_action_names_its_permission(viewer: Client) -> None:
    answer = viewer.post("/admin/profiles/profile/prof_x/activate/")
    assert answer.status_code == 403
    assert "“Can activate and deactivate profiles”" in answer.content.decode()


def test_an_unknown_address_leads_to_the_admin_without_a_login(client: Client) -> None:
    answer = client.get("/nowhere")
    page = answer.content.decode()
    assert answer.status_code == 404
    assert "There is no such page" in page
    assert 'href="/admin/"' in page
    assert "sessionid" not in answer.cookies

"""Profiles in the admin."""

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.test import Client

from profiles.models import Profile
from steering.models import SAE, SteeringState

LIST = "/admin/profiles/profile/"


def form(**changes: str) -> dict[str, str]:
    fields = {"name": "n", "model_id": "tiny", "sae_id": "tiny-sae", "layer": "2", "steering": '{"3": 2.5}'}
    return {**fields, "description": "", "sae_fingerprint": "", **changes}


def test_a_profile_is_created_and_the_form_starts_from_what_is_here(admin_client: Client, sae: SAE) -> None:
    page = admin_client.get(f"{LIST}add/").content.decode()
    assert 'value="tiny-sae"' in page
    assert admin_client.post(f"{LIST}add/", form()).status_code == 302
    assert Profile.objects.get(name="n").strengths == {3: 2.5}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steering": '{"100": 1.0}'}, "feature 100 is out of range"),
        ({"steering": '{"3": "a"}'}, "expected a finite number"),
        ({"steering": "{"}, "Enter valid JSON"),
        ({"name": "ocean"}, "already exists"),
    ],
)
def test_bad_input_is_told_beside_the_field(
    admin_client: Client, profile: Profile, changes: dict[str, str], told: str
) -> None:
    answer = admin_client.post(f"{LIST}add/", form(**changes))
    assert answer.status_code == 200
    assert told in answer.content.decode()
    assert Profile.objects.count() == 1


def test_a_viewer_sees_and_changes_nothing(client: Client, profile: Profile, django_user_model: type) -> None:
    viewer = django_user_model.objects.create_user("viewer", is_staff=True)  # type: ignore[attr-defined]
    viewer.user_permissions.add(Permission.objects.get(codename="view_profile"))
    browser = Client()
    browser.force_login(viewer)
    assert "Activate the selected" not in browser.get(LIST).content.decode()
    browser.post(LIST, {"action": "activate", "_selected_action": [profile.pk]})
    assert Profile.objects.active() is None
    assert browser.post(f"{LIST}{quote(profile.pk)}/change/", form(name="other")).status_code == 403


def test_the_list_and_every_form_render(admin_client: Client, profile: Profile, sae: SAE) -> None:
    SteeringState.objects.load()
    for path in (
        "/admin/",
        LIST,
        f"{LIST}{quote(profile.pk)}/change/",
        "/admin/steering/sae/",
        f"/admin/steering/sae/{sae.pk}/change/",
        "/admin/steering/steeringstate/",
        "/admin/inference/languagemodel/",
        "/admin/millm_site/apikey/",
        "/admin/millm_site/apikey/add/",
    ):
        assert admin_client.get(path).status_code == 200, path

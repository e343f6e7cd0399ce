"""Reading, editing, deleting."""

import pytest
from rest_framework.test import APIClient

from profiles.errors import IncompatibleProfile
from profiles.models import Profile
from steering.models import SteeringState


def live() -> SteeringState:
    return SteeringState.objects.load()


def test_editing_the_active_profile_steers_at_once(client: APIClient, profile: Profile) -> None:
    profile.activate()
    answer = client.patch(f"/api/profiles/{profile.pk}", {"steering": {"3": 9.0}})
    assert answer.json()["steering"] == {"3": 9.0}
    assert live().strengths == {3: 9.0}


def test_editing_an_inactive_profile_steers_nothing(client: APIClient, profile: Profile) -> None:
    client.patch(f"/api/profiles/{profile.pk}", {"steering": {"3": 9.0}})
    assert live().strengths == {}


def test_a_new_description_leaves_a_hand_changed_live_steering(client: APIClient, profile: Profile) -> None:
    profile.activate()
    live().set_features({8: 1.0})
    client.patch(f"/api/profiles/{profile.pk}", {"description": "waves"})
    assert live().strengths == {3: 4.0, 7: -1.5, 8: 1.0}


def test_the_active_profile_cannot_be_made_incompatible(client: APIClient, profile: Profile) -> None:
    profile.activate()
    assert client.patch(f"/api/profiles/{profile.pk}", {"model_id": "gpt2"}).status_code == 409
    profile.refresh_from_db()
    assert profile.model_id == "tiny"
    profile.layer = 0
    with pytest.raises(IncompatibleProfile):
        profile.save()


def test_patch_can_set_a_field_to_null(client: APIClient, profile: Profile) -> None:
    answer = client.patch(f"/api/profiles/{profile.pk}", {"description": None, "layer": None})
    assert (answer.json()["description"], answer.json()["layer"]) == (None, None)


def test_put_replaces(client: APIClient, profile: Profile) -> None:
    Profile.objects.filter(pk=profile.pk).update(description="old")
    answer = client.put(f"/api/profiles/{profile.pk}", {"name": "new", "steering": {"1": 1.0}})
    made = answer.json()
    assert (made["name"], made["steering"], made["description"]) == ("new", {"1": 1.0}, None)
    assert made["id"] == profile.pk


def test_is_active_cannot_be_written(client: APIClient, profile: Profile) -> None:
    client.patch(f"/api/profiles/{profile.pk}", {"is_active": True})
    assert Profile.objects.active() is None


def test_deleting_the_active_profile_deactivates_it(client: APIClient, profile: Profile) -> None:
    profile.activate()
    assert client.delete(f"/api/profiles/{profile.pk}").status_code == 204
    assert (live().strengths, live().enabled) == ({}, False)
    assert client.get(f"/api/profiles/{profile.pk}").status_code == 404


def test_deleting_many_deactivates_too(profile: Profile) -> None:
    profile.activate()
    Profile.objects.all().delete()
    assert live().enabled is False


def test_the_list_has_pages_and_the_active_id(client: APIClient, profile: Profile) -> None:
    Profile.objects.create_from(name="space", strengths={})
    profile.activate()
    page = client.get("/api/profiles?page_size=1").json()
    assert (page["count"], len(page["results"]), page["active_profile_id"]) == (2, 1, profile.pk)
    assert page["next"]
    assert client.get("/api/profiles/active").json()["id"] == profile.pk


def test_a_key_is_required(client: APIClient) -> None:
    client.force_authenticate(None)
    assert client.get("/api/profiles").status_code == 401
    assert client.get("/api/steering").status_code == 401

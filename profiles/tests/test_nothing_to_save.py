"""Where no feature is set, the live steering is not saved: it would be an empty profile that every client sees."""

import pytest
from django.test import Client
from rest_framework.test import APIClient

from profiles.models import Profile
from steering.models import SAE, SteeringState


@pytest.fixture(params=["never set", "cleared"])
def nothing(sae: SAE, request: pytest.FixtureRequest) -> None:
    if request.param == "cleared":
        SteeringState.objects.load().replace({3: 1.0})
        SteeringState.objects.load().clear()


@pytest.mark.usefixtures("nothing")
def test_no_door_makes_an_empty_profile_of_it(client: APIClient, admin_client: Client) -> None:
    refused = client.post("/api/profiles/save-current", {"name": "empty"})
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_live")
    page = admin_client.post("/admin/profiles/profile/save_live/", follow=True)
    assert "there is no live steering to save" in page.content.decode()
    version = SteeringState.objects.load().version
    live = admin_client.post("/admin/steering/steeringstate/do/save-as/", {"name": "empty", "version": version})
    assert (live.status_code, live.json()["code"]) == (409, "nothing_live")
    assert not Profile.objects.exists()


def test_what_is_switched_off_is_kept_and_can_be_saved(client: APIClient, sae: SAE) -> None:
    SteeringState.objects.load().replace({3: 1.0}, enabled=False)
    assert client.post("/api/profiles/save-current", {"name": "off"}).json()["steering"] == {"3": 1.0}


def test_who_wants_an_empty_profile_says_so(client: APIClient, sae: SAE) -> None:
    assert client.post("/api/profiles", {"name": "plain", "steering": {}}).status_code == 201

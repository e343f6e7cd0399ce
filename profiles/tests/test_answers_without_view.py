"""Who may change something and not view it, gets an answer that says what was changed, and not what it is."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from rest_framework.test import APIClient

from profiles.models import Profile
from profiles.tests.test_transfer import FLAT, changed
from steering.models import SAE, SteeringState

URL = "/api/profiles"


def client_with(*permissions: str) -> APIClient:
    user = get_user_model().objects.create_user("limited", password="x")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    made = APIClient()
    made.force_authenticate(user)
    return made


@pytest.fixture
def live(profile: Profile) -> None:
    SteeringState.objects.load().replace({5: 7.25})


@pytest.mark.usefixtures("live")
def test_who_may_only_add_sees_ids_and_names(profile: Profile) -> None:
    client = client_with("add_profile")
    for path, body in (
        (URL, {"name": "a"}),
        (f"{URL}/save-current", {"name": "b"}),
        (f"{URL}/{profile.pk}/duplicate", {}),
    ):
        answer = client.post(path, body)
        assert (answer.status_code, set(answer.json())) == (201, {"id", "name"})
    imported = client.post(f"{URL}/import?on_conflict=rename", changed(FLAT, name="ocean")).json()
    assert set(imported) == {"id", "name", "outcome", "notes"}
    bundle: Any = {"version": "1.0", "type": "millm_profile_bundle", "profiles": [{"name": "c", "steering": {}}]}
    assert set(client.post(f"{URL}/import", bundle).json()["results"][0]) == {"id", "name", "outcome"}
    conflict = client.post(URL, {"name": "ocean"})
    assert (conflict.status_code, set(conflict.json())) == (409, {"detail", "code", "field"})


def test_who_may_only_change_or_activate_sees_ids_and_names(profile: Profile) -> None:
    client = client_with("change_profile", "activate_profile")
    path, version = f"{URL}/{profile.pk}", profile.history.get().pk
    answers = [
        client.patch(path, {}),
        client.put(path, {"name": "ocean", "steering": {}}),
        client.post(f"{path}/restore", {"version": version}),
        client.post(f"{path}/activate"),
        client.post(f"{path}/deactivate"),
    ]
    assert [(one.status_code, set(one.json())) for one in answers] == [(200, {"id", "name"})] * 5
    assert {client.get(path).status_code, client.get(f"{path}/history").status_code} == {403}


@pytest.mark.usefixtures("live")
def test_who_may_only_change_the_live_steering_sees_its_version() -> None:
    client = client_with("change_steeringstate")
    for answer in (client.patch("/api/steering", {}), client.post("/api/steering/disable")):
        assert (answer.status_code, set(answer.json())) == (200, {"version"})
    assert client.get("/api/steering").status_code == 403


def test_who_may_only_change_saes_sees_what_they_are_called(sae: SAE) -> None:
    client = client_with("change_sae")
    assert set(client.post(f"/api/saes/{sae.pk}/detach").json()) == {"id", "status"}


def test_who_may_view_sees_all(client: APIClient, profile: Profile) -> None:
    assert client.patch(f"{URL}/{profile.pk}", {}).json()["steering"] == {"3": 4.0, "7": -1.5}
    assert "values" in client.patch("/api/steering", {}).json()

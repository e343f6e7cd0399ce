"""Creating profiles, by method and by REST."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from profiles.errors import InvalidProfile, ProfileExists
from profiles.models import Profile
from steering.models import SAE, SteeringState

URL = "/api/profiles"


def test_given_steering_is_kept_with_integer_keys_and_without_zeros(client: APIClient, sae: SAE) -> None:
    answer = client.post(URL, {"name": " ocean ", "steering": {"7": -1.5, "3": 4, "9": 0}})
    assert answer.status_code == 201
    assert answer.json()["steering"] == {"3": 4.0, "7": -1.5}
    profile = Profile.objects.get(pk=answer.json()["id"])
    assert profile.strengths == {3: 4.0, 7: -1.5}
    assert profile.name == "ocean"


def test_model_sae_and_layer_default_to_the_current_ones(client: APIClient, sae: SAE) -> None:
    made = client.post(URL, {"name": "x", "steering": {}}).json()
    assert (made["model_id"], made["sae_id"], made["layer"]) == ("tiny", "tiny-sae", 2)
    assert made["sae_fingerprint"] == sae.fingerprint
    assert made["is_active"] is False


def test_a_profile_of_another_sae_does_not_take_the_layer_of_this_one(client: APIClient, sae: SAE) -> None:
    made = client.post(URL, {"name": "x", "sae_id": "other", "steering": {"500": 1.0}}).json()
    assert (made["sae_id"], made["layer"], made["sae_fingerprint"]) == ("other", None, "")


def test_without_steering_it_takes_the_live_steering(client: APIClient, sae: SAE) -> None:
    SteeringState.objects.load().replace({5: 2.0})
    assert client.post(URL, {"name": "x"}).json()["steering"] == {"5": 2.0}
    assert client.post(f"{URL}/save-current", {"name": "y"}).json()["steering"] == {"5": 2.0}


def test_saving_the_current_steering_needs_an_sae(client: APIClient) -> None:
    answer = client.post(f"{URL}/save-current", {"name": "x"})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_sae_attached")


def test_a_name_that_exists_is_a_conflict(client: APIClient, profile: Profile) -> None:
    answer = client.post(URL, {"name": "ocean", "steering": {}})
    assert (answer.status_code, answer.json()["code"]) == (409, "profile_exists")
    with pytest.raises(ProfileExists):
        Profile.objects.create(name="ocean")


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\0b", "line\nbreak", "\ud800"])
def test_a_bad_name_is_refused(db: None, name: str) -> None:
    with pytest.raises(InvalidProfile, match="name: got"):
        Profile.objects.create(name=name)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "steering": {"100": 1.0}}, "steering.100"),
        ({"name": "x", "steering": {"-3": 1.0}}, "steering"),
        ({"name": "x", "steering": {"3": True}}, "steering.3"),
        ({"name": "x", "steering": {"3": "4"}}, "steering.3"),
        ({"name": "x", "steering": {"3": 1e300}}, "steering.3"),
        ({"name": "x", "steering": {"7": 1.0, "07": 1.0}}, "steering.07"),
        ({"name": "x", "steering": [1]}, "steering"),
        ({"name": "x", "steering": "{}"}, "steering"),
        ({"name": "x", "layers": 3}, "layers"),
        ({"name": "x", "layer": -1}, "layer"),
        ({"name": ""}, "name"),
        ({}, "name"),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_field(
    client: APIClient, sae: SAE, body: dict[str, Any], field: str
) -> None:
    answer = client.post(URL, body)
    assert answer.status_code == 400
    error = answer.json()
    assert error.get("field") == field or field in error, error
    assert not Profile.objects.exists()


def test_nan_is_not_json(client: APIClient, sae: SAE) -> None:
    answer = client.post(URL, '{"name": "x", "steering": {"3": NaN}}', content_type="application/json")
    assert answer.status_code == 400

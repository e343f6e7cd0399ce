"""What is stored is bounded: a description has a limit at every door, and lists of versions do not have content."""

import json
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from rest_framework.test import APIClient

from profiles.errors import InvalidProfile
from profiles.managers import DESCRIPTION_LENGTH
from profiles.models import Profile
from profiles.tests.test_transfer import CLUSTER, FILE, FLAT, changed
from steering.models import SteeringState

LONGEST = "x" * DESCRIPTION_LENGTH
TOO_LONG = LONGEST + "x"
URL = "/api/profiles"
LIVE = "/admin/steering/steeringstate/do/save-as/"


def content(description: str) -> dict[str, Any]:
    profile: Any = FILE["profile"]
    return changed(FILE, profile=changed(profile, description=description))


def test_the_model_refuses_a_longer_one(profile: Profile) -> None:
    profile.description = LONGEST
    profile.save()
    profile.description = TOO_LONG
    with pytest.raises(InvalidProfile, match="description: Got 4001 characters, expected at most 4000"):
        profile.save()


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_rest_refuses_a_longer_one(client: APIClient, profile: Profile, method: str) -> None:
    path = URL if method == "post" else f"{URL}/{profile.pk}"
    for description, fits in ((TOO_LONG, False), (LONGEST, True)):
        answer = getattr(client, method)(path, {"name": "n", "steering": {}, "description": description})
        assert answer.status_code == (400 if not fits else 201 if method == "post" else 200)
        assert fits or "Expected at most 4000 characters." in answer.json()["description"][0]
    assert client.post(f"{URL}/save-current", {"name": "s", "description": TOO_LONG}).status_code == 400


@pytest.mark.parametrize(
    ("file", "field"),
    [
        (content(TOO_LONG), "profile.description"),
        (changed(FLAT, description=TOO_LONG), "description"),
        (changed(CLUSTER, narrative=TOO_LONG), "narrative"),
    ],
)
def test_a_file_with_a_longer_one_is_refused_by_its_path(
    client: APIClient, admin_client: Client, file: dict[str, Any], field: str
) -> None:
    answer = client.post(f"{URL}/import", file)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    upload = SimpleUploadedFile("p.json", BytesIO(json.dumps(file).encode()).read())
    page: Any = admin_client.post("/admin/profiles/profile/import/", {"file": upload, "on_conflict": "fail"})
    assert f"{field}: expected at most 4000 characters" in page.context["form"].errors["text"][0]


def test_the_admin_refuses_a_longer_one(admin_client: Client, profile: Profile) -> None:
    form = {"name": "n", "description": TOO_LONG, "steering": "{}", "sae_fingerprint": ""}
    page: Any = admin_client.post("/admin/profiles/profile/add/", form)
    assert "Got 4001 characters, expected at most 4000." in page.context["adminform"].errors["description"][0]
    saved = {"name": "n", "description": TOO_LONG, "version": SteeringState.objects.load().version}
    assert admin_client.post(LIVE, saved).json()["field"] == "description"


def test_lists_of_versions_have_no_content(client: APIClient, profile: Profile) -> None:
    client.patch(f"{URL}/{profile.pk}", {"description": LONGEST, "steering": {str(i): 1.0 for i in range(100)}})
    for _ in range(10):
        profile.activate()
        profile.deactivate()
    for path in (f"{URL}/{profile.pk}/history", "/api/steering/history"):
        answer = client.get(path)
        assert answer.json()["count"] >= 20
        assert len(answer.content) < 600 * answer.json()["count"]


def test_one_version_has_all_of_it(client: APIClient, profile: Profile) -> None:
    [version] = client.get(f"{URL}/{profile.pk}/history").json()["results"]
    whole = client.get(f"{URL}/{profile.pk}/history/{version['version']}").json()
    assert whole == version | {"profile": whole["profile"]}
    assert whole["profile"]["steering"] == {"3": 4.0, "7": -1.5}
    for path in (f"{URL}/{profile.pk}/history/999", f"{URL}/{profile.pk}/history/{10**18}", f"{URL}/x/history/1"):
        assert client.get(path).status_code == 404
    for number in ("0", "99", str(2**63), "x"):
        answer = client.get(f"/api/steering/history/{number}")
        assert (answer.status_code == 200) == (number == "0" and SteeringState.history.exists())


def test_features_of_strength_0_take_one_note_a_profile(client: APIClient) -> None:
    steering = {str(index): 0 for index in range(100)} | {"7": 1.5}
    notes = client.post(f"{URL}/import", changed(FLAT, steering=steering)).json()["notes"]
    assert notes == ["new: features 0, 1, 2, 3, 4, 5, 6, 8, 9, 10 … have strength 0, which steers nothing: left out"]

"""Versions of a profile are counted from 1 for people; REST names both the number and the version of calls."""

import pytest
from rest_framework.test import APIClient

from profiles.models import Profile

URL = "/api/profiles"


@pytest.fixture
def edited(profile: Profile) -> Profile:
    for name in ("a", "b", "c"):  # versions of others lie between those of the profile
        Profile.objects.create_from(name=name, strengths={})
        profile.description = name
        profile.save()
    return profile


def test_versions_are_numbered_from_one_for_each_profile(client: APIClient, edited: Profile) -> None:
    page = client.get(f"{URL}/{edited.pk}/history?page_size=3").json()
    assert [version["number"] for version in page["results"]] == [4, 3, 2]
    last = client.get(f"{URL}/{edited.pk}/history?page_size=3&page=2").json()["results"]
    assert [(version["number"], version["type"]) for version in last] == [(1, "created")]
    for version in page["results"]:
        whole = client.get(f"{URL}/{edited.pk}/history/{version['version']}").json()
        assert whole["number"] == version["number"]


def test_a_deleted_profile_is_restored_under_a_free_name_or_refused_as_asked(
    client: APIClient, profile: Profile
) -> None:
    version = client.get(f"{URL}/{profile.pk}/history").json()["results"][0]["version"]
    client.delete(f"{URL}/{profile.pk}")
    Profile.objects.create_from(name="ocean", strengths={})
    refused = client.post(f"{URL}/{profile.pk}/restore", {"version": version, "on_conflict": "fail"})
    assert (refused.status_code, refused.json()["code"]) == (409, "profile_exists")
    assert "on_conflict=rename restores under a free name" in refused.json()["detail"]
    wrong = client.post(f"{URL}/{profile.pk}/restore", {"version": version, "on_conflict": "replace"})
    assert (wrong.status_code, list(wrong.json())) == (400, ["on_conflict"])
    restored = client.post(f"{URL}/{profile.pk}/restore", {"version": version, "on_conflict": "rename"})
    assert restored.json()["name"] == "ocean (2)"

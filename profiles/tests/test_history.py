"""Every change keeps who, when, by which door and what; versions are listed, compared and restored."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from millm_site.models import APIKey
from profiles.current import detach_sae
from profiles.models import Profile
from steering.models import SAE, SteeringState

URL = "/api/profiles"


def history(client: APIClient, profile: Profile) -> list[dict[str, Any]]:
    return list(client.get(f"{URL}/{profile.pk}/history").json()["results"])


def whole(client: APIClient, profile: Profile, version: dict[str, Any]) -> dict[str, Any]:
    """What the profile was."""
    return dict(client.get(f"{URL}/{profile.pk}/history/{version['version']}").json()["profile"])


def test_every_change_is_a_version_with_its_reason(client: APIClient, profile: Profile) -> None:
    client.patch(f"{URL}/{profile.pk}", {"steering": {"3": 9.0}})
    client.post(f"{URL}/{profile.pk}/activate")
    client.post(f"{URL}/{profile.pk}/deactivate")
    client.delete(f"{URL}/{profile.pk}")
    versions = history(client, profile)
    assert [(v["type"], v["reason"]) for v in versions] == [
        ("deleted", None),
        ("changed", "deactivated"),
        ("changed", "activated"),
        ("changed", None),
        ("created", None),
    ]
    assert [whole(client, profile, v)["steering"] for v in versions[-2:]] == [{"3": 9.0}, {"3": 4.0, "7": -1.5}]
    assert [v["is_active"] for v in versions] == [False, False, True, False, False]
    assert {v["user"] for v in versions[:-1]} == {"root"}


def test_each_door_is_told_apart(client: APIClient, admin_client: Client, profile: Profile) -> None:
    user = profile.history.model._meta.get_field("history_user").related_model.objects.get(username="root")
    key = APIKey.objects.create(user, name="laptop")[1]
    by_key = APIClient()
    by_key.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    by_key.patch(f"{URL}/{profile.pk}", {"description": "by key"})
    admin_client.post(reverse("admin:profiles_profile_activate", args=[profile.pk]))
    call_command("deactivate_profile", stderr=StringIO())
    doors = [(v["door"], v["user"]) for v in history(client, profile)]
    assert doors[:3] == [("command", None), ("admin", "admin"), ("api", "root")]
    agents = [v["agent"] for v in history(client, profile)]
    assert agents[2] == f"root, key laptop ({key[:6]}…)"
    assert agents[1] == "admin"


def test_the_history_outlives_its_user(client: APIClient, profile: Profile, django_user_model: Any) -> None:
    client.patch(f"{URL}/{profile.pk}", {"description": "x"})
    django_user_model.objects.filter(username="root").delete()
    latest = profile.history.first()
    assert (latest.history_user_id, latest.agent) == (None, "root")


def test_a_version_is_restored_and_steers_when_active(client: APIClient, profile: Profile) -> None:
    first = history(client, profile)[0]["version"]
    client.put(f"{URL}/{profile.pk}", {"name": "renamed", "steering": {"1": 1.0}})
    profile.activate()
    restored = client.post(f"{URL}/{profile.pk}/restore", {"version": first}).json()
    assert (restored["name"], restored["steering"]) == ("ocean", {"3": 4.0, "7": -1.5})
    assert SteeringState.objects.load().strengths == {3: 4.0, 7: -1.5}
    assert history(client, profile)[0]["reason"].startswith("restored the version of ")


def test_a_deleted_profile_comes_back_under_its_id(client: APIClient, profile: Profile) -> None:
    client.delete(f"{URL}/{profile.pk}")
    version = history(client, profile)[0]["version"]
    assert client.post(f"{URL}/{profile.pk}/restore", {"version": version}).json()["id"] == profile.pk
    assert Profile.objects.get(name="ocean").strengths == {3: 4.0, 7: -1.5}


@pytest.mark.parametrize("version", [0, 10**12, -1, "x", None, 2**63, True])
def test_a_version_that_is_none_is_refused(client: APIClient, profile: Profile, version: Any) -> None:
    answer = client.post(f"{URL}/{profile.pk}/restore", {"version": version})
    assert answer.status_code in {400, 404}


def test_another_profiles_version_is_not_restored(client: APIClient, profile: Profile) -> None:
    other = Profile.objects.create_from(name="space", strengths={1: 1.0})
    version = history(client, other)[0]["version"]
    answer = client.post(f"{URL}/{profile.pk}/restore", {"version": version})
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_version")


def test_a_version_whose_name_is_taken_is_restored_under_a_free_one(client: APIClient, profile: Profile) -> None:
    version = history(client, profile)[0]["version"]
    client.delete(f"{URL}/{profile.pk}")
    Profile.objects.create_from(name="ocean", strengths={})
    restored = client.post(f"{URL}/{profile.pk}/restore", {"version": version})
    assert (restored.status_code, restored.json()["id"], restored.json()["name"]) == (200, profile.pk, "ocean (2)")


def test_profiles_and_versions_are_compared(client: APIClient, profile: Profile) -> None:
    other = Profile.objects.create_from(name="space", strengths={3: 1.0, 9: 2.0})
    first = history(client, profile)[0]["version"]
    difference = client.get(f"{URL}/{profile.pk}/diff?against={other.pk}").json()
    assert difference["features"] == [
        {"index": 3, "before": 4.0, "after": 1.0},
        {"index": 7, "before": -1.5, "after": None},
        {"index": 9, "before": None, "after": 2.0},
    ]
    assert difference["changed"] == [{"field": "name", "before": "ocean", "after": "space"}]
    client.patch(f"{URL}/{profile.pk}", {"steering": {"3": 4.0}, "layer": None})
    since = client.get(f"{URL}/{profile.pk}/diff?against={first}").json()
    assert since["features"] == [{"index": 7, "before": None, "after": -1.5}]
    assert since["changed"] == [{"field": "layer", "before": None, "after": 2}]
    same = client.get(f"{URL}/{profile.pk}/diff?against={first}&version={first}").json()
    assert same == {"changed": [], "features": []}


@pytest.mark.parametrize(("query", "status"), [("", 400), ("against=nobody", 404), ("against=99999", 404)])
def test_a_comparison_with_nothing_is_refused(client: APIClient, profile: Profile, query: str, status: int) -> None:
    assert client.get(f"{URL}/{profile.pk}/diff?{query}").status_code == status
    assert client.get(f"{URL}/{profile.pk}/diff?against={profile.pk}&version=x").status_code == 400


def test_the_live_steering_has_versions_too(client: APIClient, profile: Profile) -> None:
    client.put("/api/steering", {"values": {"5": 1.0}})
    profile.activate()
    client.post("/api/steering/clear")
    versions = client.get("/api/steering/history").json()["results"]
    assert [(v["version"], v["reason"]) for v in versions] == [
        (3, "cleared"),
        (2, "profile ocean was activated"),
        (1, "replaced"),
        (0, None),
    ]
    values = [client.get(f"/api/steering/history/{v['version']}").json()["values"] for v in versions]
    assert values == [{}, {"3": 4.0, "7": -1.5}, {"5": 1.0}, {}]
    assert client.post("/api/steering/restore", {"version": 1}).json()["values"] == {"5": 1.0}
    assert client.post("/api/steering/restore", {"version": 99}).status_code == 404


def test_a_live_version_of_another_sae_is_not_restored(client: APIClient, profile: Profile, model: Any) -> None:
    client.put("/api/steering", {"values": {"5": 1.0}})
    detach_sae()
    assert client.post("/api/steering/restore", {"version": 1}).status_code == 409
    other = SAE.objects.create(
        id="o", source="/o", status="ready", d_in=16, d_sae=100, layer=1, hook_name="blocks.1.hook_resid_post"
    )
    model.attach(other)
    answer = client.post("/api/steering/restore", {"version": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "steering_unavailable")
    assert SteeringState.objects.load().strengths == {}


def test_the_live_steering_says_whether_it_equals_the_active_profile(client: APIClient, profile: Profile) -> None:
    def told() -> tuple[Any, Any]:
        state = client.get("/api/steering").json()
        return state["active_profile"], state["equals_active_profile"]

    assert told() == (None, None)
    profile.activate()
    assert told() == ({"id": profile.pk, "name": "ocean"}, True)
    client.patch("/api/steering", {"3": 5.0})
    assert told()[1] is False
    client.patch("/api/steering", {"3": 4.0})
    assert told()[1] is True
    client.post("/api/steering/disable")
    assert told()[1] is False


def test_activating_what_steers_already_changes_nothing(profile: Profile) -> None:
    profile.activate()
    versions, version = profile.history.count(), SteeringState.objects.load().version
    profile.activate()
    assert (profile.history.count(), SteeringState.objects.load().version) == (versions, version)
    SteeringState.objects.load().set_features({3: 1.0})
    profile.activate()
    assert SteeringState.objects.load().strengths == profile.strengths

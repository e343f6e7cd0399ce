"""Old versions go; the newest one of each profile, a deleted one too, and of the live steering stays."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from profiles.models import Profile
from steering.models import SAE, SteeringState

LIVE = "/admin/steering/steeringstate/"


@pytest.fixture
def gone(sae: SAE) -> Profile:
    """A profile that was deleted."""
    made = Profile.objects.create(name="gone", strengths={1: 1.0})
    pk = made.pk
    made.delete()
    return Profile(pk=pk)


@pytest.fixture
def old(profile: Profile, gone: Profile) -> None:
    """All versions are of last year."""
    profile.activate()
    profile.deactivate()
    for model in (Profile, SteeringState):
        history: Any = model.history
        assert history.count() > 2 - (model is SteeringState)
        history.update(history_date=timezone.now() - timedelta(days=400))


def clean(command: str, *options: str) -> str:
    output = StringIO()
    call_command(command, "--auto", *options, stdout=output)
    return output.getvalue()


@pytest.mark.usefixtures("old")
def test_the_newest_version_of_each_stays(profile: Profile, gone: Profile) -> None:
    newest = [Profile.history.filter(id=pk).latest("history_id").pk for pk in (profile.pk, gone.pk)]
    live = SteeringState.history.latest("version").version
    clean("clean_old_history", "--days", "365", "--dry")
    assert Profile.history.count() > 2
    assert "Removed" in clean("clean_old_history", "--days", "365")
    assert sorted(Profile.history.values_list("pk", flat=True)) == sorted(newest)
    assert [one.version for one in SteeringState.history.all()] == [live]
    assert "Removed" not in clean("clean_old_history", "--days", "365")


@pytest.mark.usefixtures("old")
def test_afterwards_everything_can_be_seen_and_restored(
    client: APIClient, admin_client: Client, profile: Profile, gone: Profile
) -> None:
    clean("clean_old_history", "--days", "365")
    for pk in (profile.pk, gone.pk):
        [version] = client.get(f"/api/profiles/{pk}/history").json()["results"]
        assert admin_client.get(f"/admin/profiles/profile/{pk}/history/").status_code == 200
        answer = client.post(f"/api/profiles/{pk}/restore", {"version": version["version"]})
        assert answer.status_code == 200
    assert admin_client.get(f"{LIVE}1/history/").status_code == 200
    version = SteeringState.history.get().version
    assert client.post("/api/steering/restore", {"version": version}).status_code == 200


@pytest.mark.usefixtures("old")
def test_a_version_that_a_jumping_clock_dates_back_stays_where_it_is_the_newest(profile: Profile) -> None:
    newest = Profile.history.filter(id=profile.pk).latest("history_id")
    Profile.history.filter(pk=newest.pk).update(history_date=timezone.now() - timedelta(days=500))
    clean("clean_old_history", "--days", "365")
    assert Profile.history.filter(pk=newest.pk).exists()


@pytest.mark.usefixtures("old")
def test_of_equal_versions_the_newest_stays(profile: Profile) -> None:
    last = Profile.history.filter(id=profile.pk).latest("history_id")
    copies = []
    for _ in range(3):
        last.pk = None
        last.save(force_insert=True)
        copies.append(last.pk)
    assert "Removed" in clean("clean_duplicate_history")
    left = list(Profile.history.filter(pk__in=copies).values_list("pk", flat=True))
    assert left == [copies[-1]]


@pytest.mark.usefixtures("old")
def test_without_any_version_pages_and_answers_say_so(
    client: APIClient, admin_client: Client, profile: Profile
) -> None:
    Profile.history.all().delete()
    SteeringState.history.all().delete()
    for path in (f"/api/profiles/{profile.pk}/history", "/api/steering/history"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["results"]) == (200, [])
    for path in (f"/api/profiles/{profile.pk}/restore", "/api/steering/restore"):
        assert client.post(path, {"version": 1}).status_code == 404
    page = f"/admin/profiles/profile/{profile.pk}"
    for path in (f"{page}/history/", f"{page}/change/", f"{LIVE}1/history/", LIVE, f"{LIVE}state/", "/admin/"):
        assert admin_client.get(path).status_code == 200, path
    for path in (f"{page}/history/compare/?from=1", f"{LIVE}1/history/compare/?from=1"):
        assert admin_client.get(path).status_code == 404
    assert admin_client.get("/admin/profiles/profile/deleted/").status_code == 200

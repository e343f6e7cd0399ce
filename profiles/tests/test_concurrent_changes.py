"""Changes that meet: one after the other, or one of them refused; never a half, never a lost update, never a 500."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from rest_framework.test import APIClient

from inference.models import LanguageModel
from profiles.models import Profile
from steering.models import SAE, SteeringState

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/profiles"


@pytest.fixture
def profile() -> Profile:
    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    sae = SAE.objects.create(
        id="s", source="/s", status="ready", d_in=16, d_sae=100, layer=2, hook_name="blocks.2.hook_resid_post"
    )
    model.attach(sae)
    return Profile.objects.create_from(name="ocean", strengths={3: 4.0})


@pytest.fixture
def user() -> Any:
    return get_user_model().objects.create_superuser("root", password="x")


def together(user: Any, *requests: Callable[[APIClient], Any]) -> list[int]:
    """The statuses of requests that start at the same moment, each with a connection of its own."""
    barrier, statuses = threading.Barrier(len(requests)), [0] * len(requests)

    def run(i: int) -> None:
        client = APIClient()
        client.force_authenticate(user)
        barrier.wait()
        statuses[i] = requests[i](client).status_code
        connection.close()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def send(method: str, url: str, *args: Any, **kwargs: Any) -> Callable[[APIClient], Any]:
    return lambda client: getattr(client, method)(url, *args, **kwargs)


def test_two_imports_of_a_name_make_one_profile_and_one_conflict(profile: Profile, user: Any) -> None:
    for i in range(10):
        file = {"version": "1.0", "name": f"new {i}", "steering": {"1": 1.0}}
        statuses = together(user, *[send("post", f"{URL}/import", file)] * 4)
        assert sorted(statuses) == [201, 409, 409, 409]
        assert Profile.objects.filter(name=f"new {i}").count() == 1


def test_four_imports_with_rename_make_four_profiles(profile: Profile, user: Any) -> None:
    file = {"version": "1.0", "name": "ocean", "steering": {}}
    statuses = together(user, *[send("post", f"{URL}/import?on_conflict=rename", file)] * 4)
    assert statuses == [201] * 4
    assert set(Profile.objects.values_list("name", flat=True)) == {"ocean", *(f"ocean ({i})" for i in range(2, 6))}


def test_edits_of_different_fields_are_both_kept(profile: Profile, user: Any) -> None:
    url = f"{URL}/{profile.pk}"
    for i in range(10):
        statuses = together(
            user,
            send("patch", url, {"description": f"d{i}"}),
            send("patch", url, {"steering": {"5": 1.0 + i}}),
        )
        assert statuses == [200, 200]
        profile.refresh_from_db()
        assert (profile.description, profile.strengths) == (f"d{i}", {5: 1.0 + i})


def test_an_edit_during_an_activation_steers(profile: Profile, user: Any) -> None:
    url = f"{URL}/{profile.pk}"
    for i in range(10):
        SteeringState.objects.load().set_features({9: 1.0})
        statuses = together(
            user,
            send("post", f"{url}/activate"),
            send("patch", url, {"steering": {"5": 1.0 + i}}),
            send("patch", "/api/steering", {"7": 1.0}),
        )
        assert statuses == [200, 200, 200]
        profile.refresh_from_db()
        live = SteeringState.objects.load().strengths
        assert live in ({5: 1.0 + i}, {5: 1.0 + i, 7: 1.0})


def test_deleting_twice_deletes_once(profile: Profile, user: Any) -> None:
    statuses = together(user, *[send("delete", f"{URL}/{profile.pk}")] * 3)
    assert sorted(statuses) == [204, 404, 404]


def test_of_two_edits_of_one_state_the_second_is_refused(profile: Profile, user: Any) -> None:
    url = f"{URL}/{profile.pk}"
    client = APIClient()
    client.force_authenticate(user)
    for i in range(5):
        tag = client.get(url)["ETag"]
        edits = [send("patch", url, {"description": f"{i} {n}"}, headers={"If-Match": tag}) for n in range(3)]
        assert sorted(together(user, *edits)) == [200, 412, 412]


def test_a_stale_etag_is_refused_and_a_fresh_one_is_not(profile: Profile, user: Any) -> None:
    url = f"{URL}/{profile.pk}"
    client = APIClient()
    client.force_authenticate(user)
    tag = client.get(url)["ETag"]
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    changed = client.patch(url, {"description": "x"}, headers={"If-Match": tag})
    assert changed.status_code == 200
    assert changed["ETag"] == client.get(url)["ETag"] != tag
    for call in (client.put, client.patch, client.delete):
        stale = call(url, {"name": "y", "steering": {}}, headers={"If-Match": tag})
        assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    assert client.delete(url, headers={"If-Match": "unquoted"}).status_code == 400
    assert client.patch(url, {"name": "y"}, headers={"If-Match": "*"}).status_code == 200
    assert client.delete(url, headers={"If-Match": f'"other", {client.get(url)["ETag"]}'}).status_code == 204

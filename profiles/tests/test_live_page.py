"""The page of the live steering, server side: what it tells, what it does, for whom; and changes that meet."""

import json
import threading
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from profiles.current import detach_sae
from profiles.models import Profile
from steering.models import SAE, SteeringState

PAGE = "/admin/steering/steeringstate/"


def do(client: Client, action: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    sae = SAE.objects.attached()
    answer = client.post(f"{PAGE}do/{action}/", {"sae": sae.pk if sae else "", **fields})
    return answer.status_code, answer.json() if answer["Content-Type"] == "application/json" else {}


def told(client: Client) -> dict[str, Any]:
    return dict(client.get(f"{PAGE}state/").json())


def live() -> SteeringState:
    return SteeringState.objects.load()


@pytest.fixture
def staff(db: None) -> Client:
    """May view the live steering, and nothing else."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_steeringstate"))
    client = Client()
    client.force_login(user)
    return client


def allow(codename: str) -> None:
    User.objects.get(username="staff").user_permissions.add(Permission.objects.get(codename=codename))


def test_features_are_set_one_by_one_and_the_answer_is_the_new_state(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    status, state = do(admin_client, "set", features='{"3": 5.5, "7": 0, "9": 1}')
    assert (status, state["done"]) == (200, "Applied")
    assert state["values"] == {"3": 5.5, "9": 1.0}
    assert live().strengths == {3: 5.5, 9: 1.0}
    assert SteeringState.history.first().door == "admin"
    assert state["profile"]["differs"] is True
    assert state["profile"]["differences"] == [
        {"kind": "changed", "name": "3", "before": "4", "after": "5.5"},
        {"kind": "removed", "name": "7", "before": "-1.5", "after": ""},
        {"kind": "added", "name": "9", "before": "", "after": "1"},
    ]


def test_it_is_turned_off_and_on_and_cleared(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    assert do(admin_client, "disable")[1]["outcome"]["kind"] == "unsteered"
    assert do(admin_client, "enable")[1]["outcome"]["kind"] == "steered"
    assert do(admin_client, "clear")[1]["values"] == {}
    assert (live().enabled, live().strengths) == (False, {})


def test_what_a_request_will_get_is_told(admin_client: Client, profile: Profile) -> None:
    assert told(admin_client)["outcome"]["told"] == "Requests are answered unsteered: the live steering is off."
    profile.activate()
    by_profile = told(admin_client)["outcome"]["told"]
    assert by_profile == "Requests are steered by 2 features of tiny-sae, at layer 2 of tiny, as set by profile ocean."
    do(admin_client, "set", features='{"3": 0}')
    assert told(admin_client)["outcome"]["told"] == "Requests are steered by 1 feature of tiny-sae, at layer 2 of tiny."
    SAE.objects.update(is_attached=False)
    assert told(admin_client)["outcome"]["kind"] == "refused"


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ('{"100": 1}', "feature 100 is out of range"),
        ('{"3": "x"}', "expected a finite number"),
        ('{"3": 1e9}', "expected a finite number from -1000 to 1000"),
        ('{"3": 1, "3": 2}', "is given twice"),
        ("{", "this is not JSON"),
        ("", "This field is required"),
        ("[]", "expected an object"),
    ],
)
def test_what_is_wrong_is_refused_in_words_and_changes_nothing(
    admin_client: Client, profile: Profile, features: str, said: str
) -> None:
    profile.activate()
    version = live().version
    status, answer = do(admin_client, "set", features=features)
    assert status == 400
    assert said in answer["detail"]
    assert (live().version, live().strengths) == (version, profile.strengths)


def test_without_an_sae_the_page_says_so_and_sets_nothing(admin_client: Client, profile: Profile) -> None:
    detach_sae()
    assert "No SAE is attached" in admin_client.get(PAGE).content.decode()
    assert told(admin_client)["sae"] is None
    assert do(admin_client, "set", features='{"3": 1}')[0] == 409
    assert do(admin_client, "save-as", name="x", version=live().version)[0] == 409


@pytest.mark.parametrize("shown", ["other", ""])
def test_a_change_on_another_sae_than_the_attached_one_is_refused(
    admin_client: Client, profile: Profile, shown: str
) -> None:
    profile.activate()
    version = live().version
    for action in ("set", "enable", "clear"):
        status, answer = do(admin_client, action, sae=shown, features='{"3": 1}')
        assert (status, answer["code"]) == (409, "stale_steering")
        assert f"changed from {shown or 'none'} to tiny-sae" in answer["detail"]
    assert live().version == version
    assert do(admin_client, "disable", sae=shown)[0] == 200  # this ends what steers, whatever it is


def test_the_live_steering_is_saved_as_a_profile(admin_client: Client, profile: Profile) -> None:
    do(admin_client, "set", features='{"5": 2}')
    status, answer = do(admin_client, "save-as", name=" calm ", version=live().version)
    assert (status, answer["done"]) == (200, "Saved as profile calm")
    saved = Profile.objects.get(name="calm")
    assert (saved.strengths, saved.sae_id, saved.layer, saved.is_active) == ({5: 2.0}, "tiny-sae", 2, False)
    status, answer = do(admin_client, "save-as", name="calm", version=live().version)
    assert (status, answer["field"]) == (409, "name")
    assert do(admin_client, "save-as", name="", version=live().version)[0] == 400


def test_the_active_profile_takes_the_live_values_and_what_steers_stays(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    do(admin_client, "set", features='{"3": 9}')
    do(admin_client, "disable")
    version = live().version
    status, answer = do(admin_client, "update-profile", profile=profile.pk, version=version)
    assert (status, answer["done"]) == (200, "Profile ocean is updated")
    profile.refresh_from_db()
    assert profile.strengths == {3: 9.0, 7: -1.5}
    assert profile.history.first().history_change_reason == "updated by the live steering"
    assert (live().version, live().enabled) == (version, False)
    assert answer["profile"]["values_differ"] is False


def test_an_update_of_what_somebody_changed_meanwhile_is_refused(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    do(admin_client, "set", features='{"3": 9}')
    seen = live().version
    live().set_features({5: 5.0})  # by another door
    for action, fields in (("update-profile", {"profile": profile.pk}), ("save-as", {"name": "n"})):
        status, answer = do(admin_client, action, version=seen, **fields)
        assert (status, answer["code"]) == (409, "stale_steering")
    profile.refresh_from_db()
    assert profile.strengths == {3: 4.0, 7: -1.5}
    assert not Profile.objects.filter(name="n").exists()


def test_revert_steers_by_the_active_profile_again(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    do(admin_client, "set", features='{"3": 9}')
    do(admin_client, "disable")
    status, answer = do(admin_client, "revert", profile=profile.pk)
    assert (status, answer["profile"]["differs"]) == (200, False)
    assert (live().strengths, live().enabled) == (profile.strengths, True)


@pytest.mark.parametrize("action", ["update-profile", "revert"])
def test_a_profile_that_is_not_active_any_more_is_neither_updated_nor_activated(
    admin_client: Client, profile: Profile, action: str
) -> None:
    do(admin_client, "set", features='{"5": 5}')
    version = live().version
    status, answer = do(admin_client, action, profile=profile.pk, version=version)
    assert (status, answer["code"]) == (409, "profile_not_active")
    status, _ = do(admin_client, action, profile="nobody", version=version)
    assert status == 404
    assert (live().version, Profile.objects.active()) == (version, None)


def test_each_change_needs_its_permission(staff: Client, profile: Profile) -> None:
    profile.activate()
    page = staff.get(PAGE).content.decode()
    assert 'role="switch"' not in page
    assert "Save as a new profile" not in page
    assert '"read_only": true' in page
    fields = {"features": '{"3": 1}', "name": "n", "profile": profile.pk}
    needed = {
        "set": "change_steeringstate",
        "enable": "change_steeringstate",
        "disable": "change_steeringstate",
        "save-as": "add_profile",
        "update-profile": "change_profile",
        "revert": "activate_profile",
        "clear": "change_steeringstate",
    }
    for action in needed:
        assert do(staff, action, version=live().version, **fields)[0] == 403, action
    for action, permission in needed.items():
        allow(permission)
        assert do(staff, action, version=live().version, **fields)[0] == 200, action


def test_who_may_not_view_gets_nothing(client: Client, staff: Client, sae: SAE) -> None:
    User.objects.get(username="staff").user_permissions.clear()
    allow("add_profile")
    for path in (PAGE, f"{PAGE}state/", f"{PAGE}1/history/"):
        assert staff.get(path).status_code == 403
    assert do(staff, "save-as", name="n", version=0)[0] == 403


def test_changes_are_posted_with_the_csrf_token(profile: Profile, django_user_model: Any) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(django_user_model.objects.create_superuser("root", password="x"))
    assert strict.post(f"{PAGE}do/clear/").status_code == 403
    assert strict.get(f"{PAGE}do/clear/").status_code == 405
    assert strict.get(f"{PAGE}do/nothing/").status_code == 404


def test_the_one_row_has_no_form_and_is_neither_added_nor_deleted(admin_client: Client, sae: SAE) -> None:
    live()
    assert admin_client.get(f"{PAGE}1/change/").headers["Location"] == PAGE
    assert admin_client.get(f"{PAGE}add/").status_code == 403
    assert admin_client.post(f"{PAGE}1/delete/").status_code == 403


def test_the_page_asks_the_database_little(
    admin_client: Client, profile: Profile, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    profile.activate()
    for number in range(300):
        live().set_features({number % 100: float(number + 1)})
    with django_assert_max_num_queries(14):
        assert admin_client.get(PAGE).status_code == 200
    with django_assert_max_num_queries(10):
        told(admin_client)


def test_a_version_is_restored_after_a_look_at_what_it_changes(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    good = live().version
    do(admin_client, "set", features='{"3": 9}')
    history = admin_client.get(f"{PAGE}1/history/").content.decode()
    assert "admin, in the admin," in history
    assert "Profile ocean was activated" in history
    restore = f"{PAGE}1/history/{good}/restore/"
    asked = admin_client.post(restore, follow=True).content.decode()
    assert "Restoring takes effect immediately for all requests." in asked
    assert live().strengths == {3: 9.0, 7: -1.5}
    done = admin_client.post(restore, {"confirmed": "1"}, follow=True).content.decode()
    assert f"Restored version {good}" in done
    assert live().strengths == profile.strengths


def test_a_version_of_another_sae_is_refused(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    good = live().version
    detach_sae()
    page = admin_client.post(f"{PAGE}1/history/{good}/restore/", {"confirmed": "1"}, follow=True).content.decode()
    assert f"version {good} steers features of SAE tiny-sae, and none is attached" in page
    for missing in (99, 2**64):
        page = admin_client.post(f"{PAGE}1/history/{missing}/restore/", follow=True).content.decode()
        assert f"the live steering has no version {missing}" in page
    assert admin_client.get(f"{PAGE}2/history/").status_code == 404


def test_versions_are_compared_with_now_and_with_each_other(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    do(admin_client, "disable")
    version = live().version
    page = admin_client.get(f"{PAGE}1/history/compare/?from={version - 1}&to=now").content.decode()
    assert "<del>on</del>" in page
    assert "<ins>off</ins>" in page


@pytest.mark.django_db(transaction=True)
def test_an_update_and_a_change_at_the_same_moment_are_one_after_the_other() -> None:
    """Either the update came first and has what was seen, or it is refused; never half of the change."""
    from inference.models import LanguageModel

    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    sae = SAE.objects.create(
        id="s", source="/s", status="ready", d_in=16, d_sae=100, layer=2, hook_name="blocks.2.hook_resid_post"
    )
    model.attach(sae)
    profile = Profile.objects.create_from(name="ocean", strengths={3: 4.0})
    profile.activate()
    user = User.objects.create_superuser("root", password="x")
    for turn in range(5):
        live().set_features({3: 10.0 + turn})
        seen, outcomes, start = live(), [0, 0], threading.Barrier(2)
        fields = [
            ("update-profile", {"profile": profile.pk, "version": seen.version}),
            ("set", {"features": json.dumps({"5": 1.0 + turn})}),
        ]

        def run(i: int, fields: Any = fields, outcomes: Any = outcomes, start: Any = start) -> None:
            client = Client()
            client.force_login(user)
            start.wait()
            outcomes[i] = do(client, fields[i][0], **fields[i][1])[0]
            connection.close()

        threads = [threading.Thread(target=run, args=[i]) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        profile.refresh_from_db()
        before = profile.strengths
        assert outcomes[1] == 200
        assert outcomes[0] in {200, 409}
        assert (before == seen.strengths) is (outcomes[0] == 200)
        assert live().strengths == {**seen.strengths, 5: 1.0 + turn}

"""Undo of the large changes on the page of the live steering: what it brings back, and when it is refused."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from profiles.models import Profile
from profiles.tests.test_live_page import allow, do, live, staff  # noqa: F401  (a fixture)


@pytest.fixture
def by_hand(profile: Profile) -> Profile:
    """The active profile, whose features were changed by hand since."""
    profile.activate()
    live().set_features({3: 9.0})
    return profile


def test_a_revert_is_undone(admin_client: Client, by_hand: Profile) -> None:
    before = live().strengths
    token = do(admin_client, "revert", profile=by_hand.pk)[1]["undo"]
    assert live().strengths == by_hand.strengths
    status, answer = do(admin_client, "undo", token=token)
    assert (status, answer["done"], answer["undo"]) == (200, "Undone", "")
    assert (live().strengths, live().enabled) == (before, True)
    assert answer["profile"]["name"] == by_hand.name


def test_features_that_were_cleared_come_back(admin_client: Client, by_hand: Profile) -> None:
    before = live().strengths
    token = do(admin_client, "clear")[1]["undo"]
    assert live().strengths == {}
    assert do(admin_client, "undo", token=token)[0] == 200
    assert (live().strengths, live().enabled) == (before, True)


def test_after_another_change_nothing_is_undone(admin_client: Client, by_hand: Profile) -> None:
    token = do(admin_client, "revert", profile=by_hand.pk)[1]["undo"]
    live().set_features({5: 1.0})
    kept = live().strengths
    status, answer = do(admin_client, "undo", token=token)
    assert (status, answer["code"]) == (409, "nothing_to_undo")
    assert "the live steering was changed since" in answer["detail"]
    assert live().strengths == kept
    assert do(admin_client, "undo", token="forged")[0] == 409


def test_a_token_is_its_users_and_an_activation_needs_the_permission_to_activate(
    admin_client: Client,
    staff: Client,  # noqa: F811
    profile: Profile,
) -> None:
    for permission in ("change_steeringstate", "activate_profile"):
        allow(permission)
    token = do(staff, "activate", profile=profile.pk)[1]["undo"]
    assert do(admin_client, "undo", token=token)[0] == 409
    user = User.objects.get(username="staff")
    user.user_permissions.remove(user.user_permissions.get(codename="activate_profile"))
    assert do(staff, "undo", token=token)[0] == 403
    assert Profile.objects.active() == profile


def test_a_change_of_one_feature_is_left_to_the_undo_of_the_table(admin_client: Client, by_hand: Profile) -> None:
    assert do(admin_client, "set", features='{"3": 2}')[1]["undo"] == ""

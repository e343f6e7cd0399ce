"""Undo in the admin's messages brings back what steered before, or a deleted profile, if nothing changed since."""

import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from profiles.models import Profile
from steering.models import SAE, SteeringState

LIST = "/admin/profiles/profile/"
UNDO = re.compile(r'<a href="(/admin/profiles/profile/undo/[^"]+)" data-post role="button"')


@pytest.fixture
def space(profile: Profile) -> Profile:
    return Profile.objects.create_from(name="space", strengths={5: 2.0})


def do(client: Client, profile: Profile, action: str) -> str:
    """Post an action of a row. Returns the link of the message's undo, "" without one."""
    return undo_in(client.post(f"{LIST}{profile.pk}/{action}/", follow=True))


def delete(client: Client, profile: Profile) -> str:
    return undo_in(client.post(f"{LIST}{profile.pk}/delete/", {"post": "yes"}, follow=True))


def undo_in(answer: Any) -> str:
    found = UNDO.search(answer.content.decode())
    return html.unescape(found[1]) if found else ""


def undo(client: Client, link: str) -> str:
    assert link, "the message had no undo"
    return html.unescape(client.post(link, follow=True).content.decode())


def live() -> tuple[bool, dict[int, Any]]:
    state = SteeringState.objects.load()
    return state.enabled, state.strengths


def user_with(*codenames: str) -> Client:
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.create_user("somebody", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_profile", *codenames]))
    browser = Client()
    browser.force_login(user)
    return browser


def test_the_undo_of_an_activation_brings_back_the_profile_and_the_changes_by_hand_before_it(
    admin_client: Client, profile: Profile, space: Profile
) -> None:
    profile.activate()
    SteeringState.objects.load().set_features({9: 1.0})
    link = do(admin_client, space, "activate")
    assert "Undone: ocean is active again, and the live steering is as it was before." in undo(admin_client, link)
    assert Profile.objects.active() == profile
    assert live() == (True, {3: 4.0, 7: -1.5, 9: 1.0})


def test_the_undo_of_a_first_activation_ends_the_steering(admin_client: Client, profile: Profile) -> None:
    link = do(admin_client, profile, "activate")
    assert "Undone: no profile is active" in undo(admin_client, link)
    assert (Profile.objects.active(), *live()) == (None, False, {})


@pytest.mark.parametrize("selected", [False, True])
def test_the_undo_of_a_deactivation_activates_again(admin_client: Client, profile: Profile, selected: bool) -> None:
    profile.activate()
    if selected:
        fields = {"action": "deactivate_selected", "_selected_action": [profile.pk]}
        link = undo_in(admin_client.post(LIST, fields, follow=True))
    else:
        link = do(admin_client, profile, "deactivate")
    assert "ocean is active again" in undo(admin_client, link)
    assert (Profile.objects.active(), *live()) == (profile, True, {3: 4.0, 7: -1.5})


def test_an_undo_after_a_change_of_the_live_steering_changes_nothing(admin_client: Client, profile: Profile) -> None:
    link = do(admin_client, profile, "activate")
    SteeringState.objects.load().set_features({9: 1.0})
    told = undo(admin_client, link)
    assert "Nothing was undone: the live steering was changed since: choose a version in its history." in told
    assert (Profile.objects.active(), *live()) == (profile, True, {3: 4.0, 7: -1.5, 9: 1.0})


def test_an_undo_is_refused_where_the_profile_before_was_edited_or_deleted(
    admin_client: Client, profile: Profile, space: Profile
) -> None:
    profile.activate()
    link = do(admin_client, space, "activate")
    profile.refresh_from_db()
    profile.strengths = {3: 9.0}
    profile.save()
    assert "ocean, which was active before, was edited since" in undo(admin_client, link)
    profile.delete()
    assert "the profile that was active before is deleted by now" in undo(admin_client, link)
    assert Profile.objects.active() == space


def test_an_undo_is_refused_where_the_profile_no_longer_fits(admin_client: Client, profile: Profile, sae: SAE) -> None:
    profile.activate()
    link = do(admin_client, profile, "deactivate")
    SAE.objects.update(fingerprint="c" * 64)
    assert "does not fit" in undo(admin_client, link)
    assert (Profile.objects.active(), *live()) == (None, False, {})


def test_what_changed_nothing_has_no_undo(admin_client: Client, profile: Profile) -> None:
    assert not do(admin_client, profile, "duplicate")
    assert not do(admin_client, profile, "deactivate")
    profile.activate()
    assert not do(admin_client, profile, "activate")


def test_the_undo_of_a_deletion_brings_back_the_profile_and_its_steering(
    admin_client: Client, profile: Profile
) -> None:
    profile.activate()
    link = delete(admin_client, profile)
    assert (Profile.objects.count(), *live()) == (0, False, {})
    told = undo(admin_client, link)
    assert "ocean was restored. Undone: ocean is active again" in told
    restored = Profile.objects.get()
    assert (restored.pk, restored.is_active, *live()) == (profile.pk, True, True, {3: 4.0, 7: -1.5})
    assert "a deleted profile was restored already" in undo(admin_client, link)


def test_the_undo_of_a_deletion_after_other_changes_restores_the_profile_alone(
    admin_client: Client, profile: Profile, space: Profile
) -> None:
    profile.activate()
    link = delete(admin_client, profile)
    Profile.objects.create_from(name="ocean", strengths={})
    space.activate()
    told = undo(admin_client, link)
    assert "ocean was restored. ocean is named ocean (2) now, since another profile has its name." in told
    assert "The profile that was active stays inactive: the live steering was changed since" in told
    assert Profile.objects.active() == space


def test_the_undo_of_a_deletion_of_selected_profiles_restores_all_of_them(
    admin_client: Client, profile: Profile, space: Profile
) -> None:
    space.activate()
    fields = {"action": "delete_selected", "_selected_action": [profile.pk, space.pk], "post": "yes"}
    link = undo_in(admin_client.post(LIST, fields, follow=True))
    assert not Profile.objects.exists()
    assert "2 profiles were restored. Undone: space is active again" in undo(admin_client, link)
    assert (Profile.objects.count(), *live()) == (2, True, {5: 2.0})


def test_an_undo_belongs_to_a_user_and_is_posted(admin_client: Client, profile: Profile) -> None:
    link = do(admin_client, profile, "activate")
    assert admin_client.get(link).status_code == 405
    other = user_with("activate_profile")
    assert "got a link of another user" in undo(other, link)
    assert "got a link that is not valid" in undo(admin_client, f"{LIST}undo/forged/")
    assert Profile.objects.active() == profile


def test_an_undo_needs_the_permissions_of_what_it_does(profile: Profile) -> None:
    profile.activate()
    user = user_with("delete_profile", "activate_profile")
    assert not delete(user, profile), "restoring needs the permissions to add and to change"
    other = Profile.objects.create_from(name="other", strengths={1: 1.0})
    link = do(user, other, "activate")
    Permission.objects.get(codename="activate_profile").user_set.clear()
    assert user.post(link).status_code == 403
    assert Profile.objects.active() == other


def test_a_user_who_may_not_activate_gets_the_profile_back_alone(profile: Profile) -> None:
    profile.activate()
    user = user_with("delete_profile", "add_profile", "change_profile")
    assert "stays inactive: activating needs a permission" in undo(user, delete(user, profile))
    assert (Profile.objects.get().is_active, *live()) == (False, False, {})

"""The page with the difference of two profiles: begun from the list, from a profile, or by their names."""

import html
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from profiles.models import Profile
from steering.models import SAE, FeatureLabel

LIST = "/admin/profiles/profile/"
COMPARE = f"{LIST}compare/"


@pytest.fixture
def space(profile: Profile, sae: SAE) -> Profile:
    FeatureLabel.objects.create(sae=sae, index=9, label="stars", source="s")
    return Profile.objects.create_from(
        name="deep space", description="Dark.", tags=["night"], strengths={3: 1.0, 9: 2.0}, more={"intensity": 0.5}
    )


def text(answer: Any) -> str:
    return " ".join(html.unescape(answer.content.decode()).split())


def test_two_selected_profiles_are_compared(admin_client: Client, profile: Profile, space: Profile) -> None:
    fields = {"action": "compare_selected", "_selected_action": [profile.pk, space.pk]}
    answer: Any = admin_client.post(LIST, fields, follow=True)
    assert answer.redirect_chain == [(f"{COMPARE}?from=deep+space&to=ocean", 302)]
    difference = answer.context["difference"]
    assert [(one.name, one.before, one.after) for one in difference.fields] == [
        ("description", "Dark.", ""),
        ("tags", "night", ""),
        ("intensity", "0.5", "1"),
    ]
    assert [(one.name, one.before, one.after) for one in difference.features] == [
        ("3", "1", "4"),
        ("7", "", "-1.5"),
        ("9 — stars", "2", ""),
    ]


@pytest.mark.parametrize(("number", "got"), [(1, "one profile"), (3, "3 profiles")])
def test_another_number_of_selected_profiles_is_refused(
    admin_client: Client, profile: Profile, space: Profile, number: int, got: str
) -> None:
    third = Profile.objects.create_from(name="third", strengths={})
    chosen = [one.pk for one in (profile, space, third)][:number]
    answer = admin_client.post(LIST, {"action": "compare_selected", "_selected_action": chosen}, follow=True)
    assert f"Compare: got {got}, expected two. Select two." in text(answer)


def test_a_comparison_begins_on_the_page_of_a_profile(admin_client: Client, profile: Profile) -> None:
    assert "Compare with …" in text(admin_client.get(f"{LIST}{profile.pk}/change/"))
    answer: Any = admin_client.get(f"{LIST}{profile.pk}/compare-with/", follow=True)
    assert answer.redirect_chain == [(f"{COMPARE}?from=ocean", 302)]
    assert "Enter the names of two profiles." in text(answer)
    assert '<option value="ocean">' in text(answer)


def test_equal_profiles_have_no_differences(admin_client: Client, profile: Profile) -> None:
    profile.duplicate("copy")
    assert "No differences but the name." in text(admin_client.get(COMPARE, {"from": "ocean", "to": "copy"}))


def test_a_name_that_no_profile_has_is_named(admin_client: Client, profile: Profile) -> None:
    answer = admin_client.get(COMPARE, {"from": "ocean", "to": "<nobody>"})
    assert (answer.status_code, "There is no profile '<nobody>'." in text(answer)) == (404, True)
    assert b"<nobody>" not in answer.content


def test_a_viewer_compares_and_others_do_not(profile: Profile, space: Profile) -> None:
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.create_user("somebody", is_staff=True)
    browser = Client()
    browser.force_login(user)
    query = {"from": "ocean", "to": "deep space"}
    assert browser.get(COMPARE, query).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename="view_profile"))
    assert browser.get(COMPARE, query).status_code == 200

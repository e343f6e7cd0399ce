"""The form of a profile in the admin: what it shows, what it refuses, and what two people do at once."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from inference.models import LanguageModel
from profiles.current import detach_sae
from profiles.models import Profile
from profiles.tests.conftest import FINGERPRINT
from profiles.tests.test_profile_admin import LIST, form
from steering.models import SAE, FeatureLabel, SteeringState

CHANGED = "changed this profile after you had opened it"


def url(profile: Profile) -> str:
    return f"{LIST}{quote(profile.pk)}/change/"


def page(client: Client, profile: Profile) -> str:
    answer = client.get(url(profile))
    assert answer.status_code == 200
    return answer.content.decode()


def entered(profile: Profile, **changes: str) -> dict[str, str]:
    """What the form of `profile`, opened now, posts."""
    saved = {"name": profile.name, "steering": json.dumps(profile.strengths), "opened": profile.state}
    return form(**saved | changes)


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """A client of a user with these permissions and no others."""

    def made(*permissions: str) -> Client:
        user = get_user_model().objects.create_user(f"user of {permissions}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return made


# --- what it shows ---


def test_the_form_tells_that_the_profile_fits(admin_client: Client, profile: Profile) -> None:
    answer: Any = admin_client.get(url(profile))
    assert answer.context["profile_page"]["reasons"] == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_id": "gpt2"}, "It is for the model gpt2, and tiny is loaded."),
        ({"model_id": None}, "It does not say which model it is for."),
        ({"sae_id": "other"}, "It is for the SAE other, and tiny-sae is attached."),
        ({"layer": 3}, "The attached SAE is at layer 2, and it is for layer 3."),
        ({"sae_fingerprint": "b" * 64}, "The attached SAE has other weights"),
    ],
)
def test_the_form_tells_why_the_profile_does_not_fit(
    admin_client: Client, profile: Profile, changes: dict[str, Any], reason: str
) -> None:
    Profile.objects.filter(pk=profile.pk).update(**changes)
    assert reason in page(admin_client, profile)


def test_without_an_sae_the_form_says_so(admin_client: Client, profile: Profile) -> None:
    detach_sae()
    assert "No SAE is attached." in page(admin_client, profile)


def test_a_refused_form_tells_whether_what_was_entered_fits(admin_client: Client, profile: Profile) -> None:
    answer = admin_client.post(url(profile), entered(profile, name="", sae_id="other"))
    assert "It is for the SAE other, and tiny-sae is attached." in answer.content.decode()


def test_an_active_profile_says_that_saving_steers_at_once(admin_client: Client, profile: Profile) -> None:
    assert "Activate" in page(admin_client, profile)
    profile.activate()
    shown = page(admin_client, profile)
    assert "Saving takes effect immediately" in shown
    assert "/deactivate/" in shown
    assert "/activate/" not in shown
    SteeringState.objects.load().set_features({9: 1.0})
    assert "changed by hand since" in page(admin_client, profile)


def test_names_of_what_is_here_are_offered_and_any_can_be_typed(admin_client: Client, profile: Profile) -> None:
    shown = page(admin_client, profile)
    assert '<option value="tiny">' in shown
    assert '<option value="tiny-sae">' in shown
    assert admin_client.post(url(profile), entered(profile, sae_id="elsewhere")).status_code == 302
    assert Profile.objects.get().sae_id == "elsewhere"


def test_the_form_asks_the_database_a_bounded_number_of_times(
    admin_client: Client, profile: Profile, django_assert_max_num_queries: Any
) -> None:
    FeatureLabel.objects.create(sae_id="tiny-sae", index=3, label="whales", source="s")
    Profile.objects.filter(pk=profile.pk).update(strengths={str(index): 1.0 for index in range(100)})
    with django_assert_max_num_queries(16):
        assert "whales" in page(admin_client, profile)


# --- what it saves ---


def test_a_saved_profile_says_what_to_do_next_once(admin_client: Client, profile: Profile) -> None:
    answer = admin_client.post(url(profile), entered(profile), follow=True)
    shown = answer.content.decode()
    assert shown.count("is saved.") == 1
    assert "successfully" not in shown
    assert f"/admin/profiles/profile/{quote(profile.pk)}/activate/" in shown
    assert "Try it in the playground" in shown
    assert "is saved." not in admin_client.get(url(profile)).content.decode()


def test_a_taken_name_is_refused_without_the_name_of_its_field(admin_client: Client, profile: Profile) -> None:
    Profile.objects.create(name="taken")
    refused = admin_client.post(url(profile), entered(profile, name="taken")).content.decode()
    assert "a profile &#x27;taken&#x27; already exists" in refused
    assert "name: a profile" not in refused


def test_saving_the_active_profile_steers_at_once(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    answer = admin_client.post(url(profile), entered(profile, steering='{"5": 6.5}'), follow=True)
    assert "the saved strengths apply to all requests" in answer.content.decode()
    assert SteeringState.objects.load().strengths == {5: 6.5}


def test_an_active_profile_cannot_be_saved_for_another_sae(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    answer = admin_client.post(url(profile), entered(profile, sae_id="other"))
    assert "it is for the SAE other, and tiny-sae is attached" in answer.content.decode()
    assert Profile.objects.get().sae_id == "tiny-sae"


def test_a_profile_for_an_sae_that_is_not_downloaded_yet_is_saved(admin_client: Client, profile: Profile) -> None:
    SAE.objects.create(id="later", source="hub/later")
    assert admin_client.post(url(profile), entered(profile, sae_id="later")).status_code == 302


def test_a_refused_profile_keeps_what_was_typed(admin_client: Client, profile: Profile) -> None:
    bad = entered(profile, description="new words", steering='{"3": 1.5, "100": 2}')
    shown = admin_client.post(url(profile), bad).content.decode()
    assert "new words" in shown
    assert "{&quot;3&quot;: 1.5, &quot;100&quot;: 2}" in shown
    assert '"errors": {"100": "feature 100 is out of range' in shown


# --- two people at once ---


def test_what_somebody_else_changed_is_not_overwritten(admin_client: Client, profile: Profile) -> None:
    mine = entered(profile, description="mine")
    Profile.objects.get().save()  # by somebody else
    refused = admin_client.post(url(profile), mine)
    assert CHANGED in refused.content.decode()
    assert "mine" in refused.content.decode()
    assert Profile.objects.get().description is None


def test_an_activation_meanwhile_counts_since_saving_would_steer(admin_client: Client, profile: Profile) -> None:
    mine = entered(profile, steering='{"9": 9}')
    profile.activate()
    assert CHANGED in admin_client.post(url(profile), mine).content.decode()
    assert SteeringState.objects.load().strengths == {3: 4.0, 7: -1.5}


def test_who_was_told_of_a_change_may_overwrite_it_and_no_later_one(admin_client: Client, profile: Profile) -> None:
    mine = entered(profile, description="mine")
    Profile.objects.get().save()
    seen = admin_client.post(url(profile), mine).context["adminform"].form.stale.details["state"]
    Profile.objects.get().save()
    assert CHANGED in admin_client.post(url(profile), {**mine, "overwrite": seen}).content.decode()
    now = Profile.objects.get().state
    assert admin_client.post(url(profile), {**mine, "overwrite": now}).status_code == 302
    assert Profile.objects.get().description == "mine"


def test_a_profile_that_was_deleted_meanwhile_can_be_saved_again(admin_client: Client, profile: Profile) -> None:
    mine = entered(profile, description="mine")
    profile.delete()
    refused = admin_client.post(f"{LIST}prof_gone/change/", mine).content.decode()
    assert "deleted this profile after you had opened it" in refused
    assert "mine" in refused
    assert not Profile.objects.exists()
    admin_client.post(f"{LIST}prof_gone/change/", {**mine, "overwrite": ""})
    assert Profile.objects.get().description == "mine"


# --- who may what ---


def test_a_viewer_sees_the_features_and_no_control(staff: Callable[..., Client], profile: Profile) -> None:
    client = staff("view_profile")
    shown = page(client, profile)
    assert '"read_only": true' in shown
    for control in ("Paste a list", "Use the current model and SAE", 'name="steering"', 'value="Save"', "/activate/"):
        assert control not in shown
    assert "Try it" in shown


def test_who_may_add_and_not_view_makes_a_profile(staff: Callable[..., Client], sae: SAE) -> None:
    client = staff("add_profile")
    assert client.get(f"{LIST}add/").status_code == 200
    assert client.get(f"{LIST}compatibility/").status_code == 200
    assert client.post(f"{LIST}add/", form()).status_code == 302


def test_who_may_nothing_is_told_nothing(staff: Callable[..., Client], profile: Profile) -> None:
    client = staff()
    assert client.get(f"{LIST}compatibility/").status_code == 403
    assert client.get(url(profile)).status_code == 403


# --- whether it fits, asked while it is edited ---


def test_the_page_asks_whether_what_was_typed_fits(admin_client: Client, model: LanguageModel, sae: SAE) -> None:
    typed = {"model_id": "tiny", "sae_id": "tiny-sae", "layer": "2", "sae_fingerprint": "", "feature": "99"}
    answer = admin_client.get(f"{LIST}compatibility/", typed).json()
    known = {"id": "tiny-sae", "d_sae": 100, "norm": None, "layer": 2, "sae_fingerprint": FINGERPRINT}
    here = {"model_id": "tiny", "sae_id": "tiny-sae", "layer": 2, "sae_fingerprint": FINGERPRINT}
    assert answer == {"here": here, "reasons": [], "sae": known}
    answer = admin_client.get(f"{LIST}compatibility/", typed | {"feature": "100"}).json()
    assert answer["reasons"] == ["Feature 100 is beyond the attached SAE, which has features below 100."]


@pytest.mark.parametrize("typed", [{}, {"layer": "two", "sae_id": "a b"}, {"layer": "9" * 5000, "feature": "-1"}])
def test_whatever_is_typed_has_an_answer(admin_client: Client, sae: SAE, typed: dict[str, str]) -> None:
    answer = admin_client.get(f"{LIST}compatibility/", typed)
    assert answer.status_code == 200
    assert answer.json()["reasons"]
    assert answer.json()["sae"] == {}

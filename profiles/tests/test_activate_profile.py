"""Activation and deactivation."""

import pytest
from rest_framework.test import APIClient

from inference.models import LanguageModel
from profiles.current import detach_sae
from profiles.errors import IncompatibleProfile
from profiles.models import Profile
from steering.models import SAE, SteeringState


def live() -> SteeringState:
    return SteeringState.objects.load()


def test_activation_replaces_the_live_steering_and_enables_it(profile: Profile) -> None:
    live().replace({1: 1.0}, enabled=False)
    profile.activate()
    assert (live().strengths, live().enabled) == ({3: 4.0, 7: -1.5}, True)
    assert Profile.objects.active() == profile
    assert not profile.differs_from(live())


def test_only_one_profile_is_active(profile: Profile) -> None:
    other = Profile.objects.create_from(name="space", strengths={1: 1.0})
    profile.activate()
    other.activate()
    assert list(Profile.objects.filter(is_active=True)) == [other]
    assert live().strengths == {1: 1.0}


def test_every_difference_is_named(client: APIClient, model: LanguageModel, sae: SAE) -> None:
    foreign = Profile.objects.create(
        name="foreign", model_id="gpt2", sae_id="other", layer=7, sae_fingerprint="b" * 64, strengths={100: 1.0}
    )
    answer = client.post(f"/api/profiles/{foreign.pk}/activate")
    assert (answer.status_code, answer.json()["code"]) == (409, "profile_incompatible")
    differences = {d["field"]: (d["got"], d["expected"]) for d in answer.json()["differences"]}
    assert differences == {
        "model": ("gpt2", "tiny"),
        "sae": ("other", "tiny-sae"),
        "layer": (7, 2),
        "sae_fingerprint": ("b" * 64, "a" * 64),
        "steering": ("feature 100", "features below 100"),
    }
    assert Profile.objects.active() is None
    assert live().version == 0


def test_without_an_sae_nothing_can_be_activated(profile: Profile) -> None:
    detach_sae()
    with pytest.raises(IncompatibleProfile, match="no SAE is attached"):
        profile.activate()


def test_an_incompatible_activation_leaves_the_active_profile_active(profile: Profile) -> None:
    profile.activate()
    foreign = Profile.objects.create(name="foreign", model_id="gpt2")
    with pytest.raises(IncompatibleProfile):
        foreign.activate()
    assert Profile.objects.active() == profile
    assert live().strengths == profile.strengths


def test_deactivation_clears_the_live_steering(client: APIClient, profile: Profile) -> None:
    profile.activate()
    answer = client.post(f"/api/profiles/{profile.pk}/deactivate")
    assert answer.json()["is_active"] is False
    assert (live().strengths, live().enabled) == ({}, False)
    missing = client.get("/api/profiles/active")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_active_profile")


def test_deactivation_can_leave_the_live_steering(client: APIClient, profile: Profile) -> None:
    profile.activate()
    client.post(f"/api/profiles/{profile.pk}/deactivate?clear_steering=false")
    assert Profile.objects.active() is None
    assert (live().strengths, live().enabled) == (profile.strengths, True)
    assert client.post(f"/api/profiles/{profile.pk}/deactivate?clear_steering=maybe").status_code == 400


def test_deactivating_an_inactive_profile_changes_nothing(profile: Profile) -> None:
    other = Profile.objects.create_from(name="space", strengths={1: 1.0})
    other.activate()
    version = live().version
    profile.deactivate()
    assert Profile.objects.active() == other
    assert live().version == version


def test_changing_the_live_steering_leaves_the_profile_active_and_says_that_it_differs(profile: Profile) -> None:
    profile.activate()
    live().set_features({3: 5.0})
    assert Profile.objects.active() == profile
    profile.refresh_from_db()
    assert profile.differs_from(live())


def test_detaching_the_sae_and_changing_the_model_deactivate(profile: Profile, sae: SAE, model: LanguageModel) -> None:
    profile.activate()
    detach_sae()
    assert Profile.objects.active() is None
    assert live().strengths == {}
    model.attach(sae)
    profile.activate()
    other = LanguageModel.objects.create(name="other", source="/o", d_model=8, num_layers=2, context_length=64)
    other.make_current()
    assert Profile.objects.active() is None
    assert SAE.objects.attached() is None


def test_the_permission_to_activate_is_needed(client: APIClient, profile: Profile, django_user_model: type) -> None:
    client.force_authenticate(django_user_model.objects.create_user("viewer"))  # type: ignore[attr-defined]
    assert client.post(f"/api/profiles/{profile.pk}/activate").status_code == 403
    assert client.get("/api/profiles").status_code == 403
    assert Profile.objects.active() is None

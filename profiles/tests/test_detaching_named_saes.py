"""Nothing steers by a detached SAE: what names one that was attached beside the main one ends with it."""

from typing import Any

import pytest
from django.test import Client

from profiles.current import attach_sae, detach_sae
from profiles.models import Profile
from profiles.tests.test_several_saes import another
from steering.models import SAE, SteeringState

PART = {"also": [{"sae": "beside", "features": {"1": 2.0}}]}
CONDITIONS: list[dict[str, Any]] = [
    {"when": {"sae": "beside", "feature": 1, "above": 0.5}},
    {"also": [{"sae": "third", "features": {"1": 2.0}, "when": {"sae": "beside", "feature": 1, "above": 0.5}}]},
]


@pytest.fixture
def beside(sae: SAE) -> SAE:
    """An SAE attached beside `sae`, and a third one."""
    attach_sae(another("third"), also=True)
    made = another("beside", layer=1)
    attach_sae(made, also=True)
    return made


def reasons(model: Any) -> list[str]:
    return list(model.history.values_list("history_change_reason", flat=True)[:1])


@pytest.mark.parametrize("more", [PART, *CONDITIONS])
def test_a_profile_that_names_it_is_deactivated_with_the_reason(beside: SAE, more: dict[str, Any]) -> None:
    profile = Profile.objects.create_from(name="both", strengths={3: 4.0}, more=more)
    profile.activate()
    detach_sae(SAE.objects.get(pk="third") if more is PART else SAE.objects.create(id="unattached", source="/u"))
    assert Profile.objects.active() == profile
    detach_sae(beside)
    state = SteeringState.objects.load()
    assert (Profile.objects.active(), state.strengths, state.more, state.enabled) == (None, {}, {}, False)
    assert reasons(SteeringState) == ["profile both was deactivated: SAE beside was detached"]
    assert Profile.history.filter(history_change_reason="deactivated: SAE beside was detached").count() == 1


def test_a_live_steering_that_names_it_is_cleared_with_the_reason(beside: SAE) -> None:
    SteeringState.objects.load().replace({3: 4.0})
    SteeringState.objects.filter(pk=1).update(more=PART)
    detach_sae(beside)
    assert SteeringState.objects.load().more == {}
    assert reasons(SteeringState) == ["SAE beside was detached"]


def test_what_ends_is_shown_before_it_is_confirmed(beside: SAE, admin_client: Client) -> None:
    Profile.objects.create_from(name="both", strengths={3: 4.0}, more=PART).activate()
    asked = admin_client.post("/admin/steering/sae/beside/detach/").content.decode()
    assert "Profile both is deactivated." in asked
    assert Profile.objects.active() is not None
    admin_client.post("/admin/steering/sae/beside/detach/", {"confirmed": "1"})
    assert Profile.objects.active() is None

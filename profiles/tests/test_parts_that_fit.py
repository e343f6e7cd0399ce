"""The parts of a profile that fit the attached SAEs, and those that do not."""

from typing import Any

import pytest

from inference.models import LanguageModel
from profiles.compatibility import reasons
from profiles.errors import IncompatibleProfile
from profiles.models import Profile
from profiles.tests.documents import ALSO, DOCUMENT, made
from steering.models import SAE, SteeringState

pytestmark = pytest.mark.usefixtures("other")


def test_each_part_that_does_not_fit_is_named(model: LanguageModel, sae: SAE, other: SAE) -> None:
    parts = [
        {"sae": "away", "features": {"1": 1.0}},
        {**ALSO, "layer": 3, "sae_fingerprint": "c" * 64, "features": {"60": 1.0}},
        {"sae": "other", "features": {"1": 1.0}, "when": {"feature": 1, "above": 1.0, "sae": "gone"}},
    ]
    profile = made(more={"also": parts, "when": {"feature": 1, "above": 1.0, "sae": "gone"}})
    found = {one["field"]: (one["got"], one["expected"]) for one in profile.differences(model, sae)}
    assert found == {
        "when.sae": ("gone", "an attached SAE"),
        "also.0.sae": ("away", "an attached SAE"),
        "also.1.layer": (3, 1),
        "also.1.sae_fingerprint": ("c" * 64, "b" * 64),
        "also.1.features": ("feature 60", "features below 50"),
        "also.2.when.sae": ("gone", "an attached SAE"),
    }
    assert reasons(profile, model, sae) == [
        "Its condition needs the SAE gone, which is not attached.",
        "Its part 1 is of away, which is not attached.",
        "Its part 2 is for layer 3, and its SAE is at layer 1.",
        "Its part 2 was made for the fingerprint cccccccccccc…, and that of its SAE is bbbbbbbbbbbb….",
        "Its part 2 has feature 60, which is beyond its SAE, which has features below 50.",
        "Its condition needs the SAE gone, which is not attached.",
    ]
    with pytest.raises(IncompatibleProfile, match="its part 1 is of away, which is not attached"):
        profile.activate()


@pytest.mark.parametrize(
    ("strengths", "more"),
    [
        ({3: 1.0}, DOCUMENT),
        ({3: 1.0}, {"also": [{"sae": "away", "features": {"1": 1.0}}]}),
        ({3: 1.0}, {"also": [ALSO, {"sae": "away", "features": {"1": 1.0}}]}),
        ({3: 1.0}, {"also": [{**ALSO, "layer": 3}]}),
        ({3: 1.0}, {"also": [{**ALSO, "sae_fingerprint": "c" * 64}]}),
        ({3: 1.0}, {"also": [{**ALSO, "sae_fingerprint": "b" * 64}]}),
        ({3: 1.0}, {"also": [{**ALSO, "features": {"50": 1.0}}]}),
        ({3: 1.0}, {"also": [{**ALSO, "when": {"feature": 1, "above": 1.0, "sae": "gone"}}]}),
        ({3: 1.0}, {"when": {"feature": 1, "above": 1.0, "sae": "gone"}}),
        ({3: 1.0}, {"when": {"feature": 1, "above": 1.0, "sae": "other"}}),
        ({3: 1.0}, {"positions": "answer"}),
        ({}, {"also": [ALSO]}),
        ({}, {}),
    ],
)
@pytest.mark.parametrize("sae_id", ["tiny-sae", "other", None])
def test_the_profiles_that_fit_are_those_without_differences(
    model: LanguageModel, sae: SAE, strengths: dict[int, Any], more: dict[str, Any], sae_id: str | None
) -> None:
    profile = made(strengths=strengths, more=more)
    Profile.objects.update(sae_id=sae_id)
    profile.refresh_from_db()
    for main in (sae, None):
        if main is None:
            SAE.objects.filter(pk=sae.pk).update(is_attached=False)
        fits = not list(profile.differences(model, main))
        assert Profile.objects.fitting(model, main).exists() == fits
        assert Profile.objects.misfitting(model, main).exists() != fits


def test_a_profile_of_parts_alone_needs_no_main_sae(sae: SAE) -> None:
    profile = made(strengths={}, more={"also": [ALSO]}, sae_id=None)
    SAE.objects.filter(pk=sae.pk).update(is_attached=False)
    profile.activate()
    state = SteeringState.objects.load()
    assert (state.sae_id, profile.differs_from(state)) == ("", False)
    spec = state.current_spec(None)
    assert spec is not None
    assert [part.sae_id for part in spec.parts] == ["other"]

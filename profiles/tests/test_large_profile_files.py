"""A file with too much in it is refused at once, however it is written."""

import time
from typing import Any

import pytest
from django.conf import settings

from profiles.errors import InvalidProfileFile
from profiles.files.transfer import ProfileFile
from profiles.models import Profile
from profiles.tests.test_transfer import CLUSTER, FILE, FLAT, INTERFACE, changed
from steering.errors import InvalidSteering

MANY = 50_000
STRENGTHS = {str(index): 1.0 for index in range(MANY)}
FEATURES = [{"index": index, "strength": 1.0} for index in range(MANY)]
MEMBERS = [{"feature_idx": index, "strength": 1.0} for index in range(MANY)]


@pytest.mark.parametrize(
    ("file", "where"),
    [
        (changed(FILE, profile={**FILE["profile"], "steering": STRENGTHS}), "profile.steering"),  # type: ignore[dict-item]
        (changed(FLAT, steering=STRENGTHS), "steering"),
        (changed(FLAT, steering=dict.fromkeys(STRENGTHS, 0)), "steering"),
        (changed(INTERFACE, features=FEATURES), "features"),
        (changed(CLUSTER, members=MEMBERS), "members"),
        (
            {"kind": "mistudio.cluster-bundle", "definitions": [changed(CLUSTER, members=MEMBERS)]},
            "definitions.0.members",
        ),
    ],
)
def test_too_many_features_are_refused_before_one_is_looked_at(file: dict[str, Any], where: str) -> None:
    began = time.perf_counter()
    with pytest.raises(InvalidProfileFile) as refused:
        ProfileFile.parse(file)
    assert time.perf_counter() - began < 5  # where each was looked at, it took minutes
    assert refused.value.details["field"] == where
    assert f"got {MANY} features, expected at most {settings.STEERING_MAX_FEATURES}" in str(refused.value)


@pytest.mark.parametrize("most", [100, MANY])
def test_as_many_features_as_a_profile_may_have_are_read(settings: Any, most: int) -> None:
    settings.STEERING_MAX_FEATURES = most
    began = time.perf_counter()
    file = ProfileFile.parse(changed(INTERFACE, features=FEATURES[:most]))
    assert time.perf_counter() - began < 20
    assert len(file.profiles[0][1]["strengths"]) == most


def test_an_error_does_not_repeat_a_long_value(db: None) -> None:
    for steering in ({"1": "x" * 100_000}, {"x" * 100_000: 1}):
        with pytest.raises(InvalidSteering) as refused:
            Profile(name="long", strengths=steering).save()
        assert len(str(refused.value)) < 300

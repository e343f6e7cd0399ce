"""The weighted sum of documents."""

from typing import Any

import pytest

from steering.document import Composition, Steering, combine
from steering.errors import InvalidSteering

OCEAN: dict[str, Any] = {"features": {"1": 4.0, "2": 2.0}}
FORMAL: dict[str, Any] = {"features": {"2": 1.0, "3": {"mode": "scale", "value": 3.0}}}


def summed(*weighted: tuple[dict[str, Any], float]) -> dict[str, Any]:
    return combine([(Steering.parse(document), weight) for document, weight in weighted], "own").as_json()


def test_what_is_added_to_a_feature_is_summed_by_weight() -> None:
    assert summed((OCEAN, 0.5), (FORMAL, 1)) == {"features": {"1": 2.0, "2": 2.0, "3": {"mode": "scale", "value": 3.0}}}
    assert summed((OCEAN, 1), (FORMAL, 0)) == OCEAN
    assert summed((FORMAL, 1), (FORMAL, 1))["features"]["3"] == {"mode": "scale", "value": 5.0}
    assert summed((OCEAN | {"intensity": 0.5}, 0.5)) == {"features": {"1": 1.0, "2": 0.5}}
    assert summed((OCEAN, 1), ({"features": {"1": -4.0}}, 1)) == {"features": {"2": 2.0}}


def test_other_units_positions_and_conditions_stay_parts_of_their_own() -> None:
    answer = {"features": {"1": 1.0}, "positions": "answer", "unit": "residual", "when": {"feature": 9, "above": 1.0}}
    assert summed((OCEAN, 1), (answer, 0.5)) == {
        "features": OCEAN["features"],
        "also": [
            {
                "sae": "own",
                "features": {"1": 0.5},
                "unit": "residual",
                "positions": "answer",
                "when": {"feature": 9, "above": 1.0},
            }
        ],
    }
    assert summed((answer, 1), (answer, 1)) == {**answer, "features": {"1": 2.0}}


def test_parts_of_other_saes_are_summed_too() -> None:
    other, own = {"sae": "b", "features": {"5": 1.0}}, {"sae": "own", "features": {"1": 1.0}}
    expected = {"features": {"1": 5.0, "2": 2.0}, "also": [{"sae": "b", "features": {"5": 2.0}}]}
    both, alone = {"features": {}, "also": [other, own]}, {"features": {}, "also": [other]}
    assert summed((OCEAN, 1), (both, 1), (alone, 1)) == expected


def test_a_feature_that_is_added_here_and_clamped_there_has_both() -> None:
    clamp = {"features": {"1": {"mode": "clamp", "value": 2.0}}}
    both = {"features": {"1": 4.0, "2": 2.0}, "also": [{"sae": "own", **clamp}]}
    assert summed((OCEAN, 1), (clamp, 1)) == both
    assert combine([(Steering.parse(both), 1)], "own") == Steering.parse(both)


def test_clamps_to_the_same_value_are_one_clamp() -> None:
    ablate, zero = {"features": {"1": {"mode": "ablate"}}}, {"features": {"1": {"mode": "clamp", "value": 0}}}
    assert summed((ablate, 1), (zero, 1)) == ablate
    assert summed((ablate, 0.25), (zero, 0.25)) == {"features": {"1": {"mode": "ablate", "weight": 0.5}}}
    assert summed((ablate, 1.5), (zero, 1)) == {"features": {"1": {"mode": "ablate", "weight": 1.5}}}


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({}, {}, "feature 1 of SAE own is clamped to 2 and to 3, expected one value"),
        ({}, {"positions": "answer"}, "feature 1 of SAE own is clamped to 2 and to 3"),
        ({}, {"unit": "max_activation"}, "feature 1 of SAE own is clamped to 2 and to 3"),
        ({"positions": "answer"}, {"positions": {"of": "answer", "first": 2}}, "is clamped to 2 and to 3"),
    ],
)
def test_two_parts_that_clamp_a_feature_to_different_values_are_refused(
    one: dict[str, Any], other: dict[str, Any], told: str
) -> None:
    def clamp(value: float) -> dict[str, Any]:
        return {"features": {"1": {"mode": "clamp", "value": value}}}

    with pytest.raises(InvalidSteering, match=told):
        summed((clamp(2) | one, 1), (clamp(3) | other, 1))
    apart = summed((clamp(2) | {"positions": "prompt"}, 1), (clamp(3) | {"positions": "answer"}, 1))
    assert len(apart["also"]) == 1
    with pytest.raises(InvalidSteering, match="by two parts whose tokens overlap, expected one part"):
        summed((clamp(2), 1), (clamp(2) | {"positions": "answer"}, 1))


def test_a_sum_keeps_the_limits_of_a_document(settings: Any) -> None:
    large = {"features": {"1": 900.0}}
    with pytest.raises(InvalidSteering, match=r"steering.features.1: got 1800.0, expected a finite number"):
        summed((large, 1), (large, 1))
    parts = {"features": {}, "also": [{"sae": f"s{at}", "features": {"1": 1}} for at in range(15)]}
    more = {"features": {}, "also": [{"sae": f"t{at}", "features": {"1": 1}} for at in range(2)]}
    with pytest.raises(InvalidSteering, match="got 17 parts, expected at most 16"):
        summed((parts, 1), (more, 1))
    settings.STEERING_MAX_FEATURES = 3
    with pytest.raises(InvalidSteering, match="got 4 features, expected at most 3"):
        summed((OCEAN, 1), ({"features": {"7": 1, "8": 1}}, 1))


def test_a_composition_is_a_document_with_profiles() -> None:
    parsed = Composition.parse({"profiles": {"ocean": 0.5, "formal": 1}, "features": {"9": 1}, "on_top": True})
    assert (parsed.profiles, parsed.on_top, parsed.own.as_json()) == (
        {"ocean": 0.5, "formal": 1.0},
        True,
        {"features": {"9": 1.0}},
    )
    assert Composition.parse({"features": {}}) == Composition()


@pytest.mark.parametrize(
    ("data", "field", "told"),
    [
        ({"profiles": ["ocean"]}, "steering.profiles", "expected an object of profile name: weight"),
        ({"profiles": {"ocean": 3}}, "steering.profiles.ocean", "got 3, expected a finite number from 0 to 2"),
        ({"profiles": {"ocean": True}}, "steering.profiles.ocean", "got True, expected a finite number"),
        ({"on_top": 1}, "steering.on_top", "got 1, expected true or false"),
        ({"profile": "ocean"}, "steering.profile", "this key is unknown"),
        ({"features": {"x": 1}}, "steering.features", "got index 'x'"),
        (3, "steering", "got a number, expected an object"),
    ],
)
def test_a_wrong_composition_is_named_by_its_path(data: Any, field: str, told: str) -> None:
    with pytest.raises(InvalidSteering) as caught:
        Composition.parse(data)
    assert caught.value.details["field"] == field
    assert told in str(caught.value)

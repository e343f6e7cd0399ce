"""The document of what steers: its forms, its errors, and its two columns."""

from typing import Any

import pytest

from steering.document import Part, Steering
from steering.document.places import When
from steering.errors import InvalidSteering
from steering.spec import Positions
from steering.strengths import Value

FULL: dict[str, Any] = {
    "features": {
        "7": 5.0,
        "8": {"mode": "clamp", "value": 2.5},
        "9": {"mode": "ablate"},
        "10": {"mode": "scale", "value": 0.5},
        "11": {"mode": "project"},
    },
    "also": [
        {
            "sae": "other-sae",
            "layer": 20,
            "sae_fingerprint": "ab",
            "features": {"7": 2.0},
            "unit": "residual",
            "positions": {"of": "answer", "first": 10},
            "special_tokens": True,
            "tools": False,
            "thinking": True,
            "when": {"feature": 12, "above": 3.0, "sae": "third", "so_far": True},
        }
    ],
    "unit": "max_activation",
    "intensity": 0.5,
    "positions": {"of": "prompt", "last": 4},
    "special_tokens": False,
    "tools": False,
    "thinking": False,
    "when": {"feature": 3, "above": 0.0},
}


def test_a_document_with_everything_is_written_as_it_was_read() -> None:
    document = Steering.parse(FULL)
    assert document.as_json() == FULL
    assert list(document.as_json()) == list(FULL)
    strengths, more = document.split()
    assert (strengths[7], "features" in more) == (5.0, False)
    assert Steering.join({str(index): one for index, one in strengths.items()}, more) == document


def test_a_document_of_features_alone_has_no_other_keys() -> None:
    document = Steering.parse({"features": {"9": 1, "2": -3, "5": 0}, "unit": "raw", "intensity": 1, "also": []})
    assert document.as_json() == {"features": {"2": -3.0, "9": 1.0}}
    assert document.split() == ({2: -3.0, 9: 1.0}, {})
    assert document.is_plain
    assert not Steering.parse({"features": {"1": {"mode": "ablate"}}}).is_plain
    assert Steering.parse({"features": {}}).as_json() == {"features": {}}


def test_a_number_and_an_object_with_the_mode_add_are_the_same() -> None:
    assert Steering.parse({"features": {"3": {"mode": "add", "value": 2}}}) == Steering.parse({"features": {"3": 2.0}})
    assert Steering.parse({"features": {"3": {"value": 2}}}).as_json() == {"features": {"3": 2.0}}


def test_features_may_be_a_list_as_upstream_writes_them() -> None:
    listed = [{"index": 4, "strength": 2}, {"index": 1, "strength": {"mode": "ablate"}, "label": "whales"}]
    assert Steering.parse({"features": listed}).as_json() == {"features": {"1": {"mode": "ablate"}, "4": 2.0}}


@pytest.mark.parametrize(
    ("data", "field", "told"),
    [
        ([], "steering", "got a list, expected an object"),
        ({"featurse": {}}, "steering.featurse", "this key is unknown: expected features, also, unit"),
        ({"features": 3}, "steering.features", "got a number, expected an object of feature index: strength"),
        ({"features": {"x": 1}}, "steering.features", "got index 'x', expected an integer >= 0"),
        ({"features": {"100": 1}}, "steering.features.100", "out of range: the SAE has 100 features"),
        ({"features": {"3": {"mode": "set", "value": 1}}}, "steering.features.3.mode", "got 'set', expected one of"),
        ({"features": {"3": {"mode": "clamp"}}}, "steering.features.3.value", "got none, expected a number"),
        ({"features": {"3": {"mode": "clamp", "value": None}}}, "steering.features.3.value", "expected a number"),
        ({"features": {"3": {"mode": "ablate", "value": 1}}}, "steering.features.3.value", "this key is unknown"),
        ({"features": {"3": {"mode": "scale", "value": "2"}}}, "steering.features.3.value", "got '2', expected a fini"),
        ({"features": {"3": {"mode": "clamp", "value": 1, "weight": 5}}}, "steering.features.3.weight", "0 to 4"),
        ({"features": [7]}, "steering.features", "got a list of something else, expected an object of feature index"),
        ({"features": [{"index": 7}]}, "steering.features.0.strength", "this key is required"),
        ({"features": [{"index": "a", "strength": 1}]}, "steering.features.0", "got index 'a'"),
        ({"features": [{"index": 1, "strength": 1}] * 2}, "steering.features.1", "feature 1 is given twice"),
        ({"unit": "percent"}, "steering.unit", "got 'percent', expected one of raw, max_activation, residual"),
        ({"intensity": 2.1}, "steering.intensity", "got 2.1, expected a finite number from 0 to 2"),
        ({"positions": "start"}, "steering.positions", "got 'start', expected all, prompt, answer"),
        ({"positions": {"of": "answer", "last": 3}}, "steering.positions", "the end of an answer is unknown"),
        ({"positions": {"of": "prompt", "last": 0}}, "steering.positions.last", "got 0, expected a number of tokens"),
        ({"positions": {"of": "prompt", "first": 1, "last": 1}}, "steering.positions", "got first and last"),
        ({"special_tokens": 1}, "steering.special_tokens", "got 1, expected true or false"),
        ({"tools": "no"}, "steering.tools", "got 'no', expected true or false"),
        ({"thinking": None}, "steering.thinking", "got None, expected true or false"),
        ({"when": {"feature": 3}}, "steering.when.above", "this key is required"),
        ({"when": {"feature": -3, "above": 1}}, "steering.when.feature", "got index -3"),
        ({"when": {"feature": 3, "above": 1, "below": 2}}, "steering.when.below", "this key is unknown"),
        ({"also": {}}, "steering.also", "got an object, expected a list of parts"),
        ({"also": [{}] * 17}, "steering.also", "got 17 parts, expected at most 16"),
        (
            {"features": {"1": 1}, "also": [{"sae": "s", "features": {"1": 1}}] * 16},
            "steering.also",
            "got 17 parts, expected at most 16",
        ),
        ({"also": [{"features": {}}]}, "steering.also.0.sae", "this key is required"),
        ({"also": [{"sae": 3, "features": {}}]}, "steering.also.0.sae", "got 3, expected the id of an SAE"),
        ({"also": [{"sae": "s", "features": {"1": "x"}}]}, "steering.also.0.features.1", "got 'x'"),
        ({"also": [{"sae": "s", "features": {}, "layer": "2"}]}, "steering.also.0.layer", "got '2', expected a layer"),
        ({"also": [{"sae": "s", "features": {}, "intensity": 1}]}, "steering.also.0.intensity", "this key is unknown"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(data: Any, field: str, told: str) -> None:
    with pytest.raises(InvalidSteering) as caught:
        Steering.parse(data, d_sae=100)
    assert caught.value.details["field"] == field
    assert told in str(caught.value)


def test_the_features_of_all_parts_count_for_the_limit(settings: Any) -> None:
    settings.STEERING_MAX_FEATURES = 3
    part = {"sae": "s", "features": {"1": 1, "2": 1}}
    Steering.parse({"features": {"1": 1}, "also": [part]})
    with pytest.raises(InvalidSteering, match="got 4 features, expected at most 3"):
        Steering.parse({"features": {"1": 1, "2": 1}, "also": [part]})


def test_stored_strengths_beyond_a_limit_that_was_lowered_are_read(settings: Any) -> None:
    settings.STEERING_MAX_STRENGTH = 1.0
    assert Steering.join({"3": 5.0}, {}).features == {3: Value(5.0)}


@pytest.mark.parametrize(
    ("value", "half"),
    [
        (Value(5.0), Value(2.5)),
        (Value(5.0, "clamp"), Value(5.0, "clamp", 0.5)),
        (Value(0.0, "ablate"), Value(0.0, "ablate", 0.5)),
        (Value(3.0, "scale"), Value(2.0, "scale")),
        (Value(1.0, "project"), Value(0.5, "project")),
    ],
)
def test_intensity_scales_each_mode_by_its_rule(value: Value, half: Value) -> None:
    [part] = Steering(features={1: value}).scaled(0.5).parts("own")
    assert part.features == {1: half}
    assert Steering(features={1: value}, intensity=0.0).parts("own") == []


def test_the_parts_of_a_document_name_all_their_settings() -> None:
    own, also = Steering.parse(FULL).parts("own")
    assert own == Part(
        "own",
        {
            7: Value(2.5),
            8: Value(2.5, "clamp", 0.5),
            9: Value(0.0, "ablate", 0.5),
            10: Value(0.75, "scale"),
            11: Value(0.5, "project"),
        },
        unit="max_activation",
        positions=Positions("prompt", last=4),
        special_tokens=False,
        tools=False,
        thinking=False,
        when=When(3, 0.0, "own"),
    )
    assert (also.unit, also.special_tokens, also.when) == ("residual", True, When(12, 3.0, "third", True))
    assert (also.tools, also.thinking) == (False, True)

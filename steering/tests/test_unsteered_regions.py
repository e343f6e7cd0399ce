"""`tools` and `thinking` of a document: tokens of calls and of the reasoning that stay unsteered."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from steering.document import Steering, combine
from steering.spec import Change, Condition, Positions, SAEPlace, SteeringPart, SteeringSpec

HOOK = "blocks.2.hook_resid_post"
FULL = SteeringPart(
    "s",
    "a" * 64,
    2,
    HOOK,
    (Change(2, -3.0), Change(7, 1.0, "clamp")),
    positions=Positions("answer", first=3),
    special_tokens=False,
    when=Condition("s", "", 1, "blocks.1.hook_resid_post", 4, 0.5, place=SAEPlace("x")),
)


def test_a_document_without_the_keys_or_with_their_defaults_is_what_it_was() -> None:
    plain = Steering.parse({"features": {"1": 2.0}, "tools": True, "thinking": True})
    assert plain == Steering.parse({"features": {"1": 2.0}})
    assert plain.is_plain
    assert plain.as_json() == {"features": {"1": 2.0}}


@pytest.mark.parametrize("key", ["tools", "thinking"])
def test_a_key_is_written_where_it_is_false(key: str) -> None:
    document = Steering.parse({"features": {"1": 2.0}, key: False})
    assert document.split() == ({1: 2.0}, {key: False})
    assert not document.is_plain
    [part] = document.parts("own")
    assert part.flags == {"special_tokens": True, "tools": True, "thinking": True, key: False}


def test_fingerprints_of_the_version_before_are_kept() -> None:
    built = SteeringSpec.build("s", "a" * 64, 2, HOOK, {7: 1.0})
    assert built is not None
    assert (built.fingerprint, SteeringSpec((FULL,)).fingerprint) == ("2c96df68313cff41", "7ad0fff9061c9124")
    others = [SteeringSpec((replace(FULL, **own),)).fingerprint for own in KEYS]
    assert len({*others, built.fingerprint, "7ad0fff9061c9124"}) == 5


KEYS: list[dict[str, Any]] = [{"tools": False}, {"thinking": False}, {"tools": False, "thinking": False}]


def test_a_spec_of_the_version_before_is_read() -> None:
    stored = asdict(SteeringSpec((FULL,)))
    del stored["parts"][0]["tools"], stored["parts"][0]["thinking"]
    assert TypeAdapter(SteeringSpec).validate_json(json.dumps(stored)) == SteeringSpec((FULL,))


def test_in_a_sum_parts_that_disagree_stay_parts_of_their_own() -> None:
    ocean, silent = {"features": {"1": 4.0}}, {"features": {"1": 1.0, "2": 3.0}, "tools": False}

    def summed(*weighted: tuple[dict[str, Any], float]) -> dict[str, Any]:
        return combine([(Steering.parse(document), weight) for document, weight in weighted], "own").as_json()

    part = {"sae": "own", "features": {"1": 0.5, "2": 1.5}, "tools": False}
    assert summed((ocean, 1), (silent, 0.5)) == {**ocean, "also": [part]}
    part = {"sae": "own", "features": {"1": 4.0}, "tools": True}
    assert summed((silent, 1), (ocean, 1)) == {**silent, "also": [part]}
    assert summed((silent, 1), (silent, 1)) == {"features": {"1": 2.0, "2": 6.0}, "tools": False}

"""Profile files with all that steers: the specification's form, and one field more."""

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from profiles.models import Profile
from profiles.tests.test_transfer import CONTENT, FILE, FLAT, changed, without_stamp
from steering.models import SAE

URL = "/api/profiles"
STEERING = {
    "3": 4.0,
    "7": {"mode": "clamp", "value": 2.5},
    "8": {"mode": "ablate"},
    "9": {"mode": "scale", "value": 0.0},
    "10": {"mode": "project", "value": 0.5},
}
MORE: dict[str, Any] = {
    "also": [
        {
            "sae": "other-sae",
            "layer": 3,
            "sae_fingerprint": "b" * 64,
            "features": {"1": -2.0, "30": {"mode": "ablate"}, "200": 1e-9},
            "unit": "raw",
            "positions": {"of": "prompt", "last": 3},
            "special_tokens": True,
            "tools": False,
            "when": {"feature": 12, "above": 3.0, "sae": "tiny-sae", "so_far": True},
        },
        {"sae": "a-vector", "features": {"0": 1.0}},
    ],
    "unit": "residual",
    "intensity": 0.5,
    "positions": {"of": "answer", "first": 20},
    "special_tokens": False,
    "thinking": False,
    "when": {"feature": 5, "above": -0.5},
}


def file(steering: Any, more: Any = None) -> dict[str, Any]:
    return changed(FILE, profile={**CONTENT, "steering": steering, **({"steering_document": more} if more else {})})


@pytest.mark.parametrize("steering", [STEERING, {}, {"7": 1.5}])
@pytest.mark.parametrize("more", [MORE, {"intensity": 0.0}, {"positions": "answer"}, {}, {"also": MORE["also"][:1]}])
def test_export_import_export_is_byte_identical(client: APIClient, sae: SAE, steering: Any, more: Any) -> None:
    made = client.post(f"{URL}/import", file(steering, more)).json()
    assert made["notes"] == []
    first = client.get(f"{URL}/{made['id']}/export").content
    content = json.loads(first)["profile"]
    assert (content["steering"], content.get("steering_document", {})) == (steering, more)
    assert ("steering_document" in content) == bool(more)
    Profile.objects.all().delete()
    again = client.post(f"{URL}/import", first, content_type="application/json").json()
    assert without_stamp(client.get(f"{URL}/{again['id']}/export").content) == without_stamp(first)
    bundle = client.get(f"{URL}/export").content
    Profile.objects.all().delete()
    assert client.post(f"{URL}/import", bundle, content_type="application/json").status_code == 201
    assert without_stamp(client.get(f"{URL}/export").content) == without_stamp(bundle)


def test_the_same_profile_imported_again_is_unchanged(client: APIClient, sae: SAE) -> None:
    client.post(f"{URL}/import", file(STEERING, MORE))
    again = client.post(f"{URL}/import?on_conflict=replace", file(STEERING, MORE)).json()
    assert again["outcome"] == "unchanged"
    plain = client.post(f"{URL}/import?on_conflict=replace", file({"3": 4.0})).json()
    assert plain["outcome"] == "replaced"
    assert Profile.objects.get().more == {}


@pytest.mark.parametrize(
    "listed",
    [
        changed(FILE, profile={**CONTENT, "steering": [{"index": 7, "strength": 1.5}]}),
        changed(FLAT, steering=[{"index": 7, "strength": 1.5, "label": "sea"}]),
    ],
)
def test_features_may_be_a_list(client: APIClient, sae: SAE, listed: dict[str, Any]) -> None:
    assert client.post(f"{URL}/import", listed).json()["steering"] == {"7": 1.5}


def test_what_changes_nothing_is_left_out_and_named(client: APIClient, sae: SAE) -> None:
    steering = {"3": 4.0, "4": {"mode": "scale", "value": 1}, "5": {"mode": "add", "value": 0}}
    more = {"also": [{"sae": "other", "features": {"1": 0, "2": 1.0}}]}
    answer = client.post(f"{URL}/import", file(steering, more)).json()
    assert Profile.objects.get().strengths == {3: 4.0}
    assert answer["notes"] == [
        "new: features 4, 5 have a value that changes nothing: left out",
        "new: SAE other: feature 1 has strength 0, which steers nothing: left out",
    ]


@pytest.mark.parametrize(
    ("steering", "more", "field"),
    [
        ({}, {"colour": 1}, "profile.steering_document.colour"),
        ({}, {"features": {"1": 1.0}}, "profile.steering_document.features"),
        ({}, {"intensity": 3}, "profile.steering_document.intensity"),
        ({}, {"also": [{"sae": "x", "features": {"y": 1}}]}, "profile.steering_document.also.0.features"),
        ({}, {"also": [{"sae": "x", "features": {"1": "2"}}]}, "profile.steering_document.also.0.features.1"),
        ({}, {"when": {"feature": 1}}, "profile.steering_document.when.above"),
        ({}, [1], "profile.steering_document"),
        ({"3": {"mode": "set"}}, {}, "profile.steering.3.mode"),
        ([{"index": 7}], {}, "profile.steering"),
        ([{"index": "7", "strength": 1}], {}, "profile.steering"),
        ([{"index": 7, "strength": 1}] * 2, {}, "profile.steering"),
        ([{"index": 7, "strength": "1"}], {}, "profile.steering.7"),
    ],
)
def test_anything_else_is_refused_by_the_path_of_its_field(
    client: APIClient, sae: SAE, steering: Any, more: Any, field: str
) -> None:
    answer = client.post(f"{URL}/import", file(steering, more))
    assert (answer.status_code, answer.json().get("field")) == (400, field), answer.json()
    assert not Profile.objects.exists()

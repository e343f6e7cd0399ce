"""miStudio's circuit definitions become profiles of several SAEs."""

import time
from typing import Any

import pytest
from rest_framework.test import APIClient

from profiles.errors import InvalidProfileFile
from profiles.files.transfer import ProfileFile
from profiles.models import Profile
from profiles.tests.test_transfer import changed
from steering.models import SAE, FeatureLabel

URL = "/api/profiles"
CIRCUIT: dict[str, Any] = {
    "kind": "mistudio.circuit-definition",
    "schema_version": "1",
    "name": "tides",
    "narrative": "d",
    "model": {"hf_id": "tiny"},
    "saes": [
        {"mistudio_sae_id": "early-sae", "layer": 1, "n_features": 50, "source_hint": "hf:org/saes"},
        {"mistudio_sae_id": "tiny-sae", "layer": 2, "n_features": 100},
        {"mistudio_sae_id": "late-sae", "layer": 3},
        {"mistudio_sae_id": "unused-sae", "layer": 9},
    ],
    "members": [
        {"layer": 2, "member_kind": "feature_ref", "feature": {"feature_idx": 7, "strength": 3.0, "label": "sea"}},
        {
            "layer": 3,
            "member_kind": "cluster_ref",
            "cluster_profile_id": "cl_1",
            "cluster_name": "waves",
            "feature": {"feature_idx": 60, "strength": 1.0},
            "expanded_members": [
                {"feature_idx": 5, "strength": 2.0, "sign": -1},
                {"feature_idx": 6, "strength": -4.0, "sign": -1, "max_activation": 9.5},
            ],
        },
        {"layer": 2, "feature": {"feature_idx": 7, "strength": 100.0}},
        {"layer": 1, "feature": {"feature_idx": 40, "strength": 8.0}},
    ],
    "edges": [{"up": {"layer": 2, "feature_idx": 7}, "down": {"layer": 3, "feature_idx": 5}, "rung": 2}],
    "budget": {
        "formula_id": "freq-budget/sim-alloc/per-layer@1",
        "layers": {"1": {"B": 2.4, "intensity": 0.5}, "3": {"B": 1.0}},
        "intensity": 1.5,
        "intensity_range": [0.2, 1.6],
    },
    "faithfulness": {"necessity": 0.5},
    "provenance": {"mistudio_version": "1.2"},
}


def test_a_circuit_is_one_profile_with_a_part_for_each_further_sae(client: APIClient, sae: SAE) -> None:
    answer = client.post(f"{URL}/import", CIRCUIT).json()
    profile = Profile.objects.get(pk=answer["id"])
    assert (profile.name, profile.description, profile.model_id) == ("tides", "d", "tiny")
    assert (profile.sae_id, profile.layer, profile.strengths) == ("early-sae", 1, {40: 4.0})
    assert profile.more == {
        "also": [
            {"sae": "tiny-sae", "layer": 2, "features": {"7": 3.0}},
            {"sae": "late-sae", "layer": 3, "features": {"5": -2.0, "6": -4.0, "60": 1.0}},
        ],
        "intensity": 1.5,
    }


def test_what_has_no_place_in_a_profile_is_named(client: APIClient, sae: SAE) -> None:
    notes = client.post(f"{URL}/import", CIRCUIT).json()["notes"]
    fields = [note.split(":")[0] for note in notes]
    ignored = ["saes[].n_features", "saes[].source_hint", "members[].cluster_profile_id", "members[].cluster_name"]
    assert {*ignored, "edges", "faithfulness", "provenance", "budget.intensity_range"} <= set(fields)
    assert "saes.3: no member is at its layer, 9: left out" in notes
    assert "members.2: feature 7 at layer 2 is given before: the first counts" in notes
    assert "SAE late-sae: 1 maximum activation left out: no such SAE is here" in notes
    assert "SAE tiny-sae: 1 label kept" in notes
    assert FeatureLabel.objects.of("tiny-sae", [7]) == {7: "sea"}


def test_a_circuit_comes_back_from_the_file_of_its_profile(client: APIClient, sae: SAE) -> None:
    made = client.post(f"{URL}/import", CIRCUIT).json()
    exported = client.get(f"{URL}/{made['id']}/export").content
    again = client.post(f"{URL}/import?on_conflict=replace", exported, content_type="application/json").json()
    assert again["outcome"] == "unchanged"


def test_a_circuit_of_one_sae_is_a_plain_profile(client: APIClient, sae: SAE) -> None:
    alone = changed(CIRCUIT, saes=[{"sae_id": "tiny-sae"}], budget=None, members=CIRCUIT["members"][:1])
    client.post(f"{URL}/import", alone)
    profile = Profile.objects.get()
    assert (profile.sae_id, profile.layer, profile.strengths, profile.more) == ("tiny-sae", None, {7: 3.0}, {})


MEMBER = CIRCUIT["members"][0]


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"saes": []}, "saes", "got 0 entries, expected at least 1"),
        ({"saes": CIRCUIT["saes"] * 5}, "saes", "at most 16"),
        ({"members": []}, "members", "got 0 entries, expected at least 1"),
        ({"members": [{**MEMBER, "layer": 5}]}, "members", "member 0 is at layer 5, where the file has no SAE"),
        ({"saes": [CIRCUIT["saes"][1]] * 2, "members": [MEMBER]}, "members", "more than one SAE"),
        ({"saes": [{"layer": 2}], "members": [MEMBER]}, "members", "without mistudio_sae_id"),
        ({"members": [{"layer": 2}]}, "members", "member 0 is no feature"),
        ({"members": [{"layer": 2, "member_kind": "cluster_ref"}]}, "members", "without its expanded_members"),
        ({"members": [{**MEMBER, "layer": "2"}]}, "members.0.layer", "expected a whole number"),
        ({"members": [{**MEMBER, "colour": 1}]}, "members.0.colour", "this field is unknown"),
        ({"budget": {"intensity": 3}}, "budget.intensity", "expected at most 2"),
        ({"budget": {"layers": {"1": {"intensity": -1}}}}, "budget.layers.1.intensity", "expected at least 0"),
        ({"schema_version": "2"}, "schema_version", "'1'"),
        ({"name": None}, "name", "expected a string"),
    ],
)
def test_a_circuit_that_is_wrong_is_refused_by_its_field(changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidProfileFile, match=message) as refused:
        ProfileFile.parse(changed(CIRCUIT, **changes))
    assert refused.value.details["field"] == field


FEATURES = [{"feature_idx": index, "strength": 1.0} for index in range(50_000)]


@pytest.mark.parametrize(
    "many",
    [
        [{"layer": 2, "feature": feature} for feature in FEATURES],
        [{"layer": 2, "expanded_members": FEATURES}],
        [{"layer": at % 4, "expanded_members": FEATURES[at * 20 : at * 20 + 20]} for at in range(2500)],
    ],
)
def test_a_large_circuit_is_refused_at_once(many: list[dict[str, Any]]) -> None:
    began = time.perf_counter()
    with pytest.raises(InvalidProfileFile, match="expected at most"):
        ProfileFile.parse(changed(CIRCUIT, members=many))
    assert time.perf_counter() - began < 5

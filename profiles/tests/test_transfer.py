"""Files of profiles: written in one form, read in all, imported whole or not at all."""

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from profiles.errors import InvalidProfileFile
from profiles.files.transfer import MAX_PROFILES, ProfileFile
from profiles.models import Profile
from steering.models import SAE, SteeringState

URL = "/api/profiles"
CONTENT = {"name": "new", "description": "d", "model": "tiny", "sae": "tiny-sae", "layer": 2, "steering": {"7": 1.5}}
FILE = {
    "version": "1.0",
    "type": "millm_profile",
    "profile": CONTENT,
    "exported_at": "t",
    "exported_from": "miLLM v1.0",
}
FLAT = {
    "version": "1.0",
    "name": "new",
    "description": "d",
    "model_id": "tiny",
    "sae_id": "tiny-sae",
    "layer": 2,
    "steering": {"7": 1.5},
}
INTERFACE = {
    "version": "1.0",
    "name": "new",
    "description": "d",
    "model": {"repo_id": "tiny", "quantization": "FP16"},
    "sae": {"repo_id": "tiny-sae", "layer": 2},
    "features": [{"index": 7, "strength": 1.5}],
    "exported_at": "t",
}
CLUSTER = {
    "kind": "mistudio.cluster-definition",
    "schema_version": "1",
    "name": "new",
    "narrative": "d",
    "model": {"hf_id": "tiny"},
    "sae": {"mistudio_sae_id": "tiny-sae", "layer": 2, "n_features": 100},
    "members": [
        {"feature_idx": 7, "strength": 3.0, "sign": 1, "label": "sea"},
        {"feature_idx": 8, "strength": 2.0, "sign": -1, "meta": {"x": 1}},
        {"feature_idx": 9, "strength": -4.0, "sign": -1},
    ],
    "budget": {"B": 2.4, "intensity": 0.5, "intensity_range": [0.5, 1.5]},
}


def changed(file: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**file, **changes}


@pytest.mark.parametrize(
    "file", [FILE, FLAT, INTERFACE, {"success": True, "data": FLAT}, {"success": True, "data": FILE}]
)
def test_every_form_of_millm_is_read(client: APIClient, sae: SAE, file: dict[str, Any]) -> None:
    answer = client.post(f"{URL}/import", file)
    assert answer.status_code == 201, answer.json()
    assert (answer.json()["name"], answer.json()["outcome"]) == ("new", "created")
    profile = Profile.objects.get(name="new")
    assert (profile.description, profile.model_id, profile.sae_id, profile.layer) == ("d", "tiny", "tiny-sae", 2)
    assert profile.strengths == {7: 1.5}


def test_a_cluster_of_mistudio_is_read_with_its_signs_and_intensity(client: APIClient, sae: SAE) -> None:
    answer = client.post(f"{URL}/import", CLUSTER).json()
    assert answer["steering"] == {"7": 1.5, "8": -1.0, "9": -2.0}
    assert (answer["model_id"], answer["sae_id"], answer["layer"], answer["description"]) == (
        "tiny",
        "tiny-sae",
        2,
        "d",
    )
    assert [note.split(":")[0] for note in answer["notes"]] == [
        "sae.n_features",
        "members[].meta",
        "budget.intensity_range",
        "SAE tiny-sae",
    ]


def test_a_bundle_of_mistudio_is_read(client: APIClient, sae: SAE) -> None:
    bundle = {
        "kind": "mistudio.cluster-bundle",
        "schema_version": "1",
        "definitions": [CLUSTER, changed(CLUSTER, name="b")],
    }
    answer = client.post(f"{URL}/import", bundle).json()
    assert (answer["count"], [one["name"] for one in answer["results"]]) == (2, ["new", "b"])


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ([], None),
        ({}, "type"),
        ({"type": "other"}, "type"),
        ({"kind": "mistudio.probe-definition"}, "kind"),
        (changed(FILE, version="2.0"), "version"),
        (changed(FILE, steerng={}), "steerng"),
        (changed(FILE, profile={}), "profile.name"),
        (changed(FILE, profile=changed(CONTENT, name="  ")), "profile.name"),
        (changed(FILE, profile=changed(CONTENT, name="x" * 101)), "profile.name"),
        (changed(FILE, profile=changed(CONTENT, layer="2")), "profile.layer"),
        (changed(FILE, profile=changed(CONTENT, layer=True)), "profile.layer"),
        (changed(FILE, profile=changed(CONTENT, colour="red")), "profile.colour"),
        (changed(FILE, profile=changed(CONTENT, steering=[1])), "profile.steering"),
        (changed(FILE, profile=changed(CONTENT, steering={"-3": 1.0})), "profile.steering"),
        (changed(FILE, profile=changed(CONTENT, steering={"3": "1"})), "profile.steering.3"),
        (changed(FILE, profile=changed(CONTENT, steering={"3": True})), "profile.steering.3"),
        (changed(FILE, profile=changed(CONTENT, steering={"3": 1e300})), "profile.steering.3"),
        (changed(FILE, profile=changed(CONTENT, steering={"7": 1, "07": 1})), "profile.steering.07"),
        (changed(FILE, profile=changed(CONTENT, steering={"100": 1.0})), "profile.steering.100"),
        (changed(FILE, profile=changed(CONTENT, sae="x" * 201)), "profile.sae_id"),
        (changed(INTERFACE, features=[{"index": 7, "strength": 1}] * 2), "features"),
        (changed(INTERFACE, features=[{"index": "7", "strength": 1}]), "features.0.index"),
        (changed(INTERFACE, features=[{"index": 7, "strength": None}]), "steering.7"),
        (changed(CLUSTER, members=[]), "members"),
        (changed(CLUSTER, members=[{"feature_idx": 7, "strength": 1.0, "sign": 2}]), "members.0.sign"),
        (changed(CLUSTER, budget={"intensity": 3}), "budget.intensity"),
        ({"success": False, "data": FLAT}, "success"),
        ({"success": True, "data": changed(FLAT, layer="x")}, "data.layer"),
    ],
)
def test_anything_else_is_refused_by_the_path_of_its_field(
    client: APIClient, sae: SAE, file: Any, field: str | None
) -> None:
    answer = client.post(f"{URL}/import", file)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.json()
    assert not Profile.objects.exists()


def test_zeros_are_left_out_and_told(client: APIClient, sae: SAE) -> None:
    file = changed(FILE, profile=changed(CONTENT, steering={"7": 1.5, "9": 0}))
    answer = client.post(f"{URL}/import", file).json()
    assert answer["steering"] == {"7": 1.5}
    assert answer["notes"] == ["new: feature 9 has strength 0, which steers nothing: left out"]


def test_a_name_that_exists_fails_is_renamed_or_is_replaced(client: APIClient, profile: Profile) -> None:
    profile.activate()
    file = changed(FILE, profile=changed(CONTENT, name="ocean"))
    refused = client.post(f"{URL}/import", file)
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
        409,
        "profile_exists",
        "profile.name",
    )
    assert client.post(f"{URL}/import?on_conflict=maybe", file).status_code == 400
    renamed = client.post(f"{URL}/import?on_conflict=rename", file).json()
    assert (renamed["name"], renamed["outcome"]) == ("ocean (2)", "renamed")
    replaced = client.post(f"{URL}/import?on_conflict=replace", file).json()
    assert (replaced["id"], replaced["outcome"], replaced["is_active"]) == (profile.pk, "replaced", True)
    assert SteeringState.objects.load().strengths == {7: 1.5}


def test_a_long_name_is_renamed_within_its_limit(client: APIClient, sae: SAE) -> None:
    file = changed(FILE, profile=changed(CONTENT, name="x" * 100))
    names = [client.post(f"{URL}/import?on_conflict=rename", file).json()["name"] for _ in range(3)]
    assert names == ["x" * 100, "x" * 96 + " (2)", "x" * 96 + " (3)"]


def test_replacing_the_active_profile_by_one_that_does_not_fit_is_refused(client: APIClient, profile: Profile) -> None:
    profile.activate()
    file = changed(FILE, profile=changed(CONTENT, name="ocean", model="gpt2"))
    assert client.post(f"{URL}/import?on_conflict=replace", file).status_code == 409
    profile.refresh_from_db()
    assert profile.model_id == "tiny"


def test_a_bundle_is_imported_whole_or_not_at_all(client: APIClient, profile: Profile) -> None:
    names = ("first", "second", "ocean")
    bundle = {"version": "1.0", "type": "millm_profile_bundle", "profiles": [changed(CONTENT, name=n) for n in names]}
    refused = client.post(f"{URL}/import", bundle)
    assert (refused.status_code, refused.json()["field"]) == (409, "profiles.2.name")
    assert Profile.objects.count() == 1
    twice = {**bundle, "profiles": [CONTENT, CONTENT]}
    assert client.post(f"{URL}/import?on_conflict=replace", twice).json()["field"] == "profiles.1.name"
    outcomes = client.post(f"{URL}/import?on_conflict=rename", bundle).json()["results"]
    assert [one["name"] for one in outcomes] == ["first", "second", "ocean (2)"]


def without_stamp(text: bytes) -> str:
    file = json.loads(text)
    return text.decode().replace(file["exported_at"], "")


def test_export_import_export_is_byte_identical(client: APIClient, sae: SAE) -> None:
    fields = {"description": 'Ünïcödé "quoted"\nlines', "steering": {"1": 0.1, "10": -1e-9, "9": 1000}}
    made = client.post(URL, {"name": "ocean/λ", **fields}).json()
    first = client.get(f"{URL}/{made['id']}/export")
    assert first["Content-Type"] == "application/json"
    assert "attachment" in first["Content-Disposition"]
    Profile.objects.all().delete()
    again = client.post(f"{URL}/import", first.content, content_type="application/json").json()
    second = client.get(f"{URL}/{again['id']}/export")
    assert without_stamp(second.content) == without_stamp(first.content)


def test_the_file_is_exactly_the_specified_one(client: APIClient, profile: Profile) -> None:
    file = json.loads(client.get(f"{URL}/{profile.pk}/export").content)
    assert list(file) == ["version", "type", "profile", "exported_at", "exported_from"]
    assert (file["version"], file["type"]) == ("1.0", "millm_profile")
    assert list(file["profile"]) == ["name", "description", "model", "sae", "layer", "steering", "sae_fingerprint"]
    assert file["profile"]["steering"] == {"3": 4.0, "7": -1.5}
    assert file["exported_from"].startswith("miLLM v")


def test_all_or_chosen_profiles_are_exported_and_come_back(client: APIClient, profile: Profile) -> None:
    for name in ("space", "forest"):
        Profile.objects.create_from(name=name, strengths={1: 1.0})
    everything = client.get(f"{URL}/export").content
    assert [one["name"] for one in json.loads(everything)["profiles"]] == ["forest", "ocean", "space"]
    chosen = json.loads(client.get(f"{URL}/export?name=space&name=ocean").content)
    assert [one["name"] for one in chosen["profiles"]] == ["ocean", "space"]
    filtered = json.loads(client.get(f"{URL}/export?feature=7").content)
    assert [one["name"] for one in filtered["profiles"]] == ["ocean"]
    assert client.get(f"{URL}/export?name=nobody").status_code == 404
    Profile.objects.all().delete()
    assert client.post(f"{URL}/import", everything, content_type="application/json").json()["count"] == 3
    assert without_stamp(client.get(f"{URL}/export").content) == without_stamp(everything)


@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, b"\xff{}"])
def test_what_is_not_json_is_refused(client: APIClient, sae: SAE, text: Any) -> None:
    answer = client.post(f"{URL}/import", text, content_type="application/json")
    assert answer.status_code == 400
    with pytest.raises(InvalidProfileFile):
        ProfileFile.loads(text)


def test_replacing_needs_the_permission_to_change(client: APIClient, profile: Profile, django_user_model: Any) -> None:
    from django.contrib.auth.models import Permission

    adder = django_user_model.objects.create_user("adder")
    adder.user_permissions.add(Permission.objects.get(codename="add_profile"))
    client.force_authenticate(adder)
    file = changed(FILE, profile=changed(CONTENT, name="ocean"))
    assert client.post(f"{URL}/import?on_conflict=replace", file).status_code == 403
    assert client.post(f"{URL}/import?on_conflict=rename", file).status_code == 201


@pytest.mark.parametrize("name", ["a\0b", "a\nb"])
def test_a_name_that_is_no_text_is_refused(client: APIClient, sae: SAE, name: str) -> None:
    file = json.dumps(changed(FILE, profile=changed(CONTENT, name=name)))
    for on_conflict in ("fail", "rename", "replace"):
        answer = client.post(f"{URL}/import?on_conflict={on_conflict}", file, content_type="application/json")
        assert answer.status_code == 400
        assert "expected printable text" in answer.content.decode()


def test_a_file_has_a_bounded_number_of_profiles(client: APIClient, sae: SAE) -> None:
    contents = [changed(CONTENT, name=f"p{number}") for number in range(MAX_PROFILES + 1)]
    file = {"version": "1.0", "type": "millm_profile_bundle", "profiles": contents}
    answer = client.post(f"{URL}/import", file)
    assert answer.status_code == 400
    assert "got 1,001 profiles, expected at most 1,000" in answer.content.decode()
    assert len(ProfileFile.loads(json.dumps(file), most=None).profiles) == MAX_PROFILES + 1

"""Profiles and the live steering with documents: stored, activated, restored, compared and answered."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from inference.models import LanguageModel
from profiles.compatibility import reasons
from profiles.diff import COMPARED, diff, differences
from profiles.errors import IncompatibleProfile
from profiles.models import Profile
from steering.document import Steering
from steering.document.resolution import SAENotAttached, StatisticsUnknown
from steering.errors import InvalidSteering
from steering.models import SAE, SteeringState

CLAMP: dict[str, Any] = {"mode": "clamp", "value": 2.0}
ALSO: dict[str, Any] = {"sae": "other", "layer": 1, "features": {"7": 2.0}, "when": {"feature": 5, "above": 1.0}}
DOCUMENT: dict[str, Any] = {
    "also": [ALSO],
    "intensity": 0.5,
    "positions": {"of": "answer", "first": 10},
    "special_tokens": False,
}


@pytest.fixture(autouse=True)
def other(sae: SAE) -> SAE:
    """A second SAE, of layer 1, attached beside the main one."""
    return SAE.objects.create(
        id="other",
        source="/other",
        status="ready",
        d_in=16,
        d_sae=50,
        layer=1,
        hook_name="blocks.1.hook_resid_post",
        fingerprint="b" * 64,
        is_also_attached=True,
    )


def made(**fields: Any) -> Profile:
    return Profile.objects.create_from(**{"name": "full", "strengths": {3: 4.0, 8: CLAMP}, "more": DOCUMENT, **fields})


def test_rest_stores_and_answers_a_whole_document(client: APIClient) -> None:
    answer = client.post("/api/profiles", {"name": "full", "steering": {"3": 4, "8": CLAMP}, **DOCUMENT})
    assert answer.status_code == 201, answer.json()
    got = client.get(f"/api/profiles/{answer.json()['id']}").json()
    assert {name: got[name] for name in DOCUMENT} == DOCUMENT
    assert got["steering"] == {"3": 4.0, "8": CLAMP}
    assert "unit" not in got
    profile = Profile.objects.get(name="full")
    assert (profile.strengths, profile.more) == ({3: 4.0, 8: CLAMP}, DOCUMENT)


def test_a_plain_profile_is_answered_as_before(client: APIClient, profile: Profile) -> None:
    got = client.get(f"/api/profiles/{profile.pk}").json()
    assert list(got) == [
        *("id", "name", "description", "model_id", "sae_id", "layer", "sae_fingerprint", "steering", "labels"),
        *("is_active", "created_at", "updated_at"),
    ]
    assert profile.more == {}
    assert list(client.get("/api/steering").json()) == [
        *("enabled", "values", "labels", "version", "sae_id", "active_profile", "equals_active_profile", "updated_at")
    ]


def test_patch_changes_single_settings_and_put_replaces_all(client: APIClient) -> None:
    profile = made()
    url = f"/api/profiles/{profile.pk}"
    tag = client.get(url).headers["ETag"]
    answer = client.patch(url, {"intensity": 2, "positions": None})
    assert {name: answer.json().get(name) for name in DOCUMENT} == {**DOCUMENT, "intensity": 2.0, "positions": None}
    assert answer.headers["ETag"] != tag
    assert answer.json()["steering"] == {"3": 4.0, "8": CLAMP}
    assert client.patch(url, {"intensity": 1}, headers={"If-Match": tag}).status_code == 412
    assert client.put(url, {"name": "full", "steering": {"1": 1}}).status_code == 200
    assert Profile.objects.get().more == {}


def test_a_profile_of_the_live_steering_takes_its_whole_document(client: APIClient) -> None:
    client.put("/api/steering", {"values": [{"index": 3, "strength": 4}], **DOCUMENT})
    saved = client.post("/api/profiles/save-current", {"name": "saved"}).json()
    assert {name: saved[name] for name in DOCUMENT} == DOCUMENT
    client.post("/api/profiles", {"name": "own", "steering": {"1": 1}})
    assert Profile.objects.get(name="own").more == {}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"steering": {"3": {"mode": "set"}}}, "steering.3.mode"),
        ({"steering": {"3": 1}, "unit": "percent"}, "unit"),
        ({"also": [{"sae": "other", "features": {"x": 1}}]}, "also.0.features"),
        ({"positions": {"of": "answer", "last": 1}}, "positions"),
        ({"when": {"feature": 1}}, "when.above"),
        ({"intensity": 3}, "intensity"),
        ({"also": 3}, "also"),
    ],
)
def test_what_is_wrong_in_a_document_is_named_by_rest(client: APIClient, body: dict[str, Any], field: str) -> None:
    answer = client.post("/api/profiles", {"name": "wrong", **body})
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.json()
    values = {"values" if name == "steering" else name: value for name, value in body.items()}
    answer = client.put("/api/steering", values)
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.json()


def test_an_active_profile_steers_by_its_document_and_an_edit_steers_at_once() -> None:
    profile = made()
    profile.activate()
    state = SteeringState.objects.load()
    assert state.document == profile.document
    assert not profile.differs_from(state)
    assert state.current_spec(SAE.objects.attached()) == profile.spec()
    profile.more = {**profile.more, "intensity": 1.0}
    profile.save()
    state.refresh_from_db()
    assert "intensity" not in state.more
    state.set_features({9: 1.0})
    assert state.more["positions"] == DOCUMENT["positions"]
    assert profile.differs_from(state)
    profile.take_live_steering(state.version)
    assert profile.document == state.document
    profile.revert_live_steering()


def test_what_could_not_steer_is_not_made_live(other: SAE) -> None:
    state = SteeringState.objects.load()
    with pytest.raises(SAENotAttached, match=r"also\.0\.sae: away is not attached"):
        state.replace(Steering.parse({"also": [{"sae": "away", "features": {"1": 1}}]}))
    with pytest.raises(InvalidSteering, match=r"also\.0\.features\.50: feature 50 is out of range: other"):
        state.replace(Steering.parse({"also": [{"sae": "other", "features": {"50": 1}}]}))
    profile = made(more={"unit": "max_activation"})
    with pytest.raises(StatisticsUnknown, match=r"steering\.3: the largest activation of feature 3"):
        profile.activate()
    assert (state.version, Profile.objects.active()) == (0, None)


def test_versions_keep_the_document_and_restore_it(client: APIClient) -> None:
    profile = made()
    profile.more = {}
    profile.save()
    first = Profile.history.filter(id=profile.pk).last()
    assert first is not None
    shown = client.get(f"/api/profiles/{profile.pk}/history/{first.history_id}").json()["profile"]
    assert {name: shown[name] for name in DOCUMENT} == DOCUMENT
    restored = Profile.objects.restore(profile.pk, first.history_id)
    assert restored.more == DOCUMENT
    assert profile.duplicate().document == profile.document

    state = SteeringState.objects.load()
    state.replace(restored.document)
    version = state.version
    state.clear()
    assert state.more == {}
    state.restore(version)
    assert state.document == restored.document
    shown = client.get(f"/api/steering/history/{version}").json()
    assert {name: shown[name] for name in DOCUMENT} == DOCUMENT


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
    with pytest.raises(IncompatibleProfile, match=r"also\.0\.sae is away, expected an attached SAE"):
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


def test_a_profile_of_parts_alone_needs_no_main_sae(sae: SAE) -> None:
    profile = made(strengths={}, more={"also": [ALSO]}, sae_id=None)
    SAE.objects.filter(pk=sae.pk).update(is_attached=False)
    profile.activate()
    state = SteeringState.objects.load()
    assert (state.sae_id, profile.differs_from(state)) == ("", False)
    spec = state.current_spec(None)
    assert spec is not None
    assert [part.sae_id for part in spec.parts] == ["other"]


def test_a_difference_has_settings_and_the_features_of_parts(client: APIClient) -> None:
    plain, full = made(name="plain", more={}), made()
    found = diff(plain, full)
    assert found["changed"][1:] == [
        {"field": "intensity", "before": 1.0, "after": 0.5},
        {"field": "positions", "before": "all", "after": {"of": "answer", "first": 10}},
        {"field": "special_tokens", "before": True, "after": False},
        {"field": "also.other.layer", "before": None, "after": 1},
        {"field": "also.other.when", "before": None, "after": {"feature": 5, "above": 1.0}},
    ]
    assert found["features"] == [{"index": 7, "before": None, "after": 2.0, "sae": "other"}]
    assert client.get(f"/api/profiles/{plain.pk}/diff?against={full.pk}").json() == found
    full.strengths, full.more = {3: 5.0, 8: {"mode": "ablate"}}, {**DOCUMENT, "also": []}
    assert diff(made(name="again"), full)["features"] == [
        {"index": 3, "before": 4.0, "after": 5.0},
        {"index": 8, "before": CLAMP, "after": {"mode": "ablate"}},
        {"index": 7, "before": 2.0, "after": None, "sae": "other"},
    ]


def test_a_difference_is_shown_in_words() -> None:
    [shown] = differences([(made(name="plain", strengths={8: CLAMP}, more={}), made())], dict.fromkeys(COMPARED, "x"))
    assert [(one.name, one.before, one.after) for one in shown.fields[1:]] == [
        ("intensity", "1", "0.5"),
        ("positions", "all", "first 10 of answer"),
        ("special tokens", "on", "off"),
        ("layer of other", "", "1"),
        ("condition of other", "", "feature 5 above 1"),
    ]
    assert [(one.name, one.before, one.after) for one in shown.features] == [
        ("3", "", "4"),
        ("7 of other", "", "2"),
    ]


def test_the_page_of_the_live_steering_tells_all_that_steers(client: APIClient) -> None:
    from profiles.live import live_steering

    made().activate()
    told = live_steering()["outcome"]["told"]
    assert told == (
        "Requests are steered by 1 feature of other, at layer 1 and 2 features of tiny-sae, at layer 2 of tiny, "
        "as profile full says."
    )


def test_a_plain_import_replaces_a_document(client: APIClient) -> None:
    made()
    file = {"version": "1.0", "type": "millm_profile", "profile": {"name": "full", "steering": {"3": 4.0}}}
    answer = client.post("/api/profiles/import?on_conflict=replace", file)
    assert answer.status_code in {200, 201}, answer.json()
    assert Profile.objects.get(name="full").more == {}

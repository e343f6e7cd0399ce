"""Profiles and the live steering with whole documents: stored, answered, activated, restored."""

from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from profiles.models import Profile
from profiles.tests.documents import CLAMP, DOCUMENT, made
from steering.document import Steering
from steering.document.resolution import SAENotAttached, StatisticsUnknown
from steering.errors import InvalidSteering
from steering.models import SAE, SteeringState

pytestmark = pytest.mark.usefixtures("other")


def test_rest_stores_and_answers_a_whole_document(client: APIClient) -> None:
    answer = client.post("/api/profiles", {"name": "full", "steering": {"3": 4, "8": CLAMP}, **DOCUMENT})
    assert answer.status_code == 201, answer.json()
    got = client.get(f"/api/profiles/{answer.json()['id']}").json()
    assert {name: got[name] for name in DOCUMENT} == DOCUMENT
    assert got["steering"] == {"3": 4.0, "8": CLAMP}
    assert "unit" not in got
    profile = Profile.objects.get(name="full")
    assert (profile.strengths, profile.more) == ({3: 4.0, 8: CLAMP}, DOCUMENT)


def test_a_plain_profile_has_no_fields_of_a_document(client: APIClient, profile: Profile) -> None:
    got = client.get(f"/api/profiles/{profile.pk}").json()
    assert list(got) == [
        *("id", "name", "description", "tags", "notes", "model_id", "sae_id", "layer", "sae_fingerprint"),
        *("steering", "labels", "is_active", "created_at", "updated_at"),
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


def test_the_page_of_the_live_steering_tells_all_that_steers(client: APIClient) -> None:
    from profiles.live import live_steering

    made().activate()
    told = live_steering()["outcome"]["told"]
    assert told == (
        "Requests are steered by 1 feature of other, at layer 1 and 2 features of tiny-sae, at layer 2 of tiny, "
        "as set by profile full."
    )


def test_a_plain_import_replaces_a_document(client: APIClient) -> None:
    made()
    file = {"version": "1.0", "type": "millm_profile", "profile": {"name": "full", "steering": {"3": 4.0}}}
    answer = client.post("/api/profiles/import?on_conflict=replace", file)
    assert answer.status_code in {200, 201}, answer.json()
    assert Profile.objects.get(name="full").more == {}


def test_rows_that_the_version_before_inserts_are_plain() -> None:
    """Webs of the version before run beside this one, and know no column `more`."""
    made(name="new")
    columns = "description, model_id, sae_id, layer, sae_fingerprint, strengths, is_active, created_at, updated_at"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO profiles_profile (id, name, {columns}) "
            f"SELECT 'prof_old', 'old', {columns} FROM profiles_profile WHERE name = 'new'"
        )
    assert Profile.objects.get(name="old").more == {}

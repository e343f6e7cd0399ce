"""The live steering: its methods, its REST resource, its snapshot."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from pydantic import TypeAdapter
from rest_framework.test import APIClient

from inference.models import LanguageModel
from steering.errors import InvalidSteering, NoSAEAttached, SteeringUnavailable
from steering.models import SAE, SteeringState
from steering.spec import Change, SteeringPart, SteeringSpec


@pytest.fixture
def sae(db: None) -> SAE:
    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    made = SAE.objects.create(
        status="ready",
        id="s",
        source="/s",
        d_in=16,
        d_sae=100,
        layer=2,
        hook_name="blocks.2.hook_resid_post",
        fingerprint="a" * 64,
    )
    model.attach(made)
    return made


@pytest.fixture
def client(db: None) -> APIClient:
    client = APIClient()
    client.force_authenticate(get_user_model().objects.create_superuser("root", password="x"))
    return client


def test_it_is_read_replaced_changed_and_cleared_by_rest(client: APIClient, sae: SAE) -> None:
    assert client.get("/api/steering").json()["enabled"] is False
    assert client.put("/api/steering", {"values": {"3": 2}}).json()["values"] == {"3": 2.0}
    assert client.patch("/api/steering", {"5": 1.5, "3": 0}).json()["values"] == {"5": 1.5}
    assert client.post("/api/steering/disable").json()["enabled"] is False
    assert client.post("/api/steering/enable").json()["enabled"] is True
    cleared = client.post("/api/steering/clear").json()
    assert (cleared["values"], cleared["enabled"], cleared["sae_id"]) == ({}, False, "s")


def test_each_change_counts_the_version(sae: SAE) -> None:
    state = SteeringState.objects.load()
    state.replace({1: 1.0})
    state.disable()
    assert SteeringState.objects.load().version == 2


def test_values_beyond_the_sae_and_without_one_are_refused(client: APIClient, sae: SAE) -> None:
    state = SteeringState.objects.load()
    with pytest.raises(InvalidSteering, match="feature 100 is out of range: the SAE has 100 features"):
        state.replace({100: 1.0})
    SAE.objects.update(is_attached=False)
    with pytest.raises(NoSAEAttached):
        state.replace({1: 1.0})
    assert client.put("/api/steering", {"values": {"1": 1}}).status_code == 409
    assert SteeringState.objects.load().strengths == {}


def current_spec() -> SteeringSpec | None:
    return SteeringState.objects.load().current_spec(SAE.objects.attached())


def test_the_snapshot_holds_what_steers(sae: SAE) -> None:
    state = SteeringState.objects.load()
    assert current_spec() is None
    state.replace({7: 1.0, 2: -3.0})
    spec = current_spec()
    part = SteeringPart("s", "a" * 64, 2, sae.hook_name, (Change(2, -3.0), Change(7, 1.0)), sae.place)
    assert spec == SteeringSpec((part,))
    state.disable()
    assert current_spec() is None


def test_what_should_steer_and_cannot_is_an_error(sae: SAE) -> None:
    SteeringState.objects.load().replace({7: 1.0})
    SAE.objects.update(is_attached=False)
    with pytest.raises(SteeringUnavailable):
        current_spec()


def test_features_of_one_sae_never_steer_another(sae: SAE) -> None:
    state = SteeringState.objects.load()
    state.replace({7: 1.0})
    other = SAE(id="other", d_sae=100, layer=2, hook_name=sae.hook_name)
    with pytest.raises(SteeringUnavailable, match="the features are of SAE s, and other is attached"):
        state.current_spec(other)


def test_a_spec_travels_as_json_and_equal_steerings_have_equal_fingerprints() -> None:
    spec = SteeringSpec.build("s", "f", 1, "h", {9: 1.0, 2: 2.0, 5: 0.0})
    same = SteeringSpec.build("s", "f", 1, "h", {2: 2, 9: 1})
    assert spec is not None
    assert same is not None
    travelled = TypeAdapter(SteeringSpec).validate_json(json.dumps(asdict(spec)))
    assert travelled == spec == same
    assert spec.fingerprint == same.fingerprint
    [part] = spec.parts
    assert spec.fingerprint != SteeringSpec((replace(part, layer=2),)).fingerprint
    assert SteeringSpec.build("s", "f", 1, "h", {1: 0.0}) is None


def test_an_sae_that_does_not_fit_is_not_attached(sae: SAE, tmp_path: Path) -> None:
    model = LanguageModel.objects.get()
    for changes, told in (({"d_in": 8}, "d_in 8: expected d_model 16"), ({"layer": 4}, "layers 0 to 3")):
        fields = {"source": "", "status": "ready", "d_in": 16, "d_sae": 4, "layer": 0, "hook_name": "h", **changes}
        wrong, _ = SAE.objects.update_or_create(id="w", defaults=fields)
        with pytest.raises(Exception, match=told):
            model.attach(wrong)
    assert SAE.objects.attached() == sae

"""Several SAEs are attached at once: one is the main one, others are attached beside it."""

import pytest
from django.db import connection
from rest_framework.test import APIClient

from inference.models import LanguageModel
from profiles.current import IsMainSAE, NoCurrentModel, attach_sae, detach_sae
from profiles.models import Profile
from steering.language_models import SAEDoesNotFit
from steering.models import SAE, SteeringState
from steering.saes import SAEInUse


def another(name: str, layer: int = 3, **fields: object) -> SAE:
    made = {"status": "ready", "d_in": 16, "d_sae": 50, "hook_name": f"blocks.{layer}.hook_resid_post"}
    return SAE.objects.create(id=name, source=f"/{name}", layer=layer, **{**made, **fields})


def attached() -> list[str]:
    return [sae.pk for sae in SAE.objects.all_attached()]


@pytest.fixture
def beside(sae: SAE) -> SAE:
    """An SAE attached beside `sae`."""
    made = another("beside")
    attach_sae(made, also=True)
    return made


def test_an_sae_is_attached_beside_the_main_one_and_what_steers_stays(sae: SAE, profile: Profile) -> None:
    profile.activate()
    version = SteeringState.objects.load().version
    for name in ("b", "a"):
        attach_sae(another(name), also=True)
    assert attached() == ["tiny-sae", "a", "b"]
    assert SAE.objects.attached() == sae
    assert (Profile.objects.active(), SteeringState.objects.load().version) == (profile, version)


def test_another_main_sae_replaces_the_main_one_only(sae: SAE, beside: SAE, profile: Profile) -> None:
    profile.activate()
    attach_sae(another("other"))
    assert attached() == ["other", "beside"]
    assert Profile.objects.active() is None
    assert SteeringState.objects.load().strengths == {}


def test_the_one_beside_it_becomes_the_main_one(sae: SAE, beside: SAE) -> None:
    attach_sae(beside)
    assert attached() == ["beside"]
    assert not SAE.objects.get(pk="beside").is_also_attached


def test_the_main_one_is_not_attached_beside_itself(sae: SAE, profile: Profile) -> None:
    profile.activate()
    with pytest.raises(IsMainSAE, match="SAE tiny-sae is the main attached SAE"):
        attach_sae(sae, also=True)
    assert Profile.objects.active() == profile


def test_detaching_another_one_leaves_what_does_not_name_it(sae: SAE, beside: SAE, profile: Profile) -> None:
    profile.activate()
    detach_sae(beside)
    assert attached() == ["tiny-sae"]
    assert Profile.objects.active() == profile
    assert SteeringState.objects.load().strengths == {3: 4.0, 7: -1.5}


def test_detaching_the_main_one_leaves_the_others(sae: SAE, beside: SAE, profile: Profile) -> None:
    profile.activate()
    detach_sae(sae)
    assert attached() == ["beside"]
    assert Profile.objects.active() is None


def test_another_model_or_none_detaches_all(model: LanguageModel, beside: SAE) -> None:
    LanguageModel.objects.create(name="b", source="/b", d_model=16, num_layers=4, context_length=8).make_current()
    assert attached() == []
    model.make_current()
    attach_sae(beside, also=True)
    model.unload()
    assert attached() == []
    with pytest.raises(NoCurrentModel):
        attach_sae(beside, also=True)


def test_one_that_does_not_fit_is_refused_beside_the_main_one_too(sae: SAE) -> None:
    with pytest.raises(SAEDoesNotFit, match="d_in 8: expected d_model 16"):
        attach_sae(another("narrow", d_in=8), also=True)
    with pytest.raises(SAEDoesNotFit, match="is for layer 4: tiny has layers 0 to 3"):
        attach_sae(another("deep", layer=2, layers=[2, 4]), also=True)
    assert attached() == ["tiny-sae"]


def test_no_attached_one_is_deleted(beside: SAE) -> None:
    with pytest.raises(SAEInUse, match="SAE beside cannot be deleted while it is attached"):
        beside.delete()
    detach_sae(beside)
    beside.delete()


def test_a_row_that_names_no_layers_spans_its_own(sae: SAE) -> None:
    assert SAE.objects.get(pk="tiny-sae").layers == [2]


def test_a_row_that_the_version_before_inserts_spans_its_own_layer(model: LanguageModel) -> None:
    columns = [field.column for field in SAE._meta.concrete_fields if field.name not in ("layers", "is_also_attached")]
    another("new")
    with connection.cursor() as cursor:
        taken = ", ".join("'old'" if column == "id" else column for column in columns)
        cursor.execute(f"INSERT INTO steering_sae ({', '.join(columns)}) SELECT {taken} FROM steering_sae")
    old = SAE.objects.get(pk="old")
    assert (old.layers, old.is_also_attached) == ([], False)
    attach_sae(old, also=True)
    old.save()
    assert SAE.objects.get(pk="old").layers == [3]


def test_rest_attaches_beside_the_main_one(client: APIClient, sae: SAE) -> None:
    another("beside")
    answer = client.post("/api/saes/beside/attach", {"also": True})
    assert (answer.status_code, answer.data["is_attached"], answer.data["is_also_attached"]) == (200, False, True)
    assert answer.data["layers"] == [3]
    assert client.post("/api/saes/beside/attach", {"as": "well"}).data == {"as": ["This field is unknown."]}
    refused = client.post("/api/saes/tiny-sae/attach", {"also": True})
    assert (refused.status_code, refused.data["code"]) == (409, "sae_attached")
    answer = client.post("/api/saes/beside/detach")
    assert not answer.data["is_also_attached"]
    assert attached() == ["tiny-sae"]

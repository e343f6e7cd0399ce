"""From a document to the spec of a request: raw values, hook points, units, and what is refused."""

from typing import Any

import pytest

from inference.models import LanguageModel
from steering.document import Steering
from steering.document.resolution import SAENotAttached, StatisticsUnknown, described, resolve
from steering.errors import InvalidSteering, NoSAEAttached, Refused
from steering.models import SAE, Feature
from steering.spec import Change, Condition, Positions, SteeringPart, SteeringSpec


def made(sae_id: str, layer: int = 2, hook_point: str = "hook_resid_post", **fields: Any) -> SAE:
    given = {
        "source": f"/{sae_id}",
        "status": "ready",
        "d_in": 16,
        "d_sae": 100,
        "layer": layer,
        "hook_name": f"blocks.{layer}.{hook_point}",
        "fingerprint": sae_id[0] * 64,
        **fields,
    }
    return SAE.objects.create(id=sae_id, **given)


@pytest.fixture
def sae(db: None) -> SAE:
    """An attached SAE at layer 2, with another one at layer 1 and a vector set of layers 1 to 3 beside it."""
    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    main = made("main", residual_norm=10.0)
    model.attach(main)
    made("below", 1, is_also_attached=True)
    made("above", 3, is_also_attached=True)
    made("set", 1, architecture="vectors", layers=[1, 2, 3], d_sae=2, is_also_attached=True)
    return main


def spec(sae: SAE | None, **document: Any) -> SteeringSpec:
    found = resolve(Steering.parse({"features": {}, **document}), sae)
    assert found is not None
    return found


def test_features_alone_are_the_spec_they_always_were(sae: SAE) -> None:
    plain = SteeringSpec.build("main", "m" * 64, 2, sae.hook_name, {3: 4.0, 7: -1.5}, sae.place)
    assert plain is not None
    assert spec(sae, features={"7": -1.5, "3": 4}) == plain
    assert spec(sae, features={"7": -1.5, "3": 4}).fingerprint == plain.fingerprint
    assert resolve(Steering.parse({"features": {}}), sae) is None
    assert resolve(Steering.parse({"features": {"1": 1}, "intensity": 0}), sae) is None


def test_modes_and_intensity_become_changes(sae: SAE) -> None:
    features = {
        "1": {"mode": "clamp", "value": 3},
        "2": {"mode": "ablate"},
        "3": {"mode": "scale", "value": 2},
        "4": {"mode": "project"},
        "5": 8,
    }
    [part] = spec(sae, features=features, intensity=0.5, positions="answer", special_tokens=False, tools=False).parts
    assert (part.positions, part.special_tokens) == (Positions("answer"), False)
    assert (part.tools, part.thinking) == (False, True)
    assert part.changes == (
        Change(1, 3.0, "clamp", 0.5),
        Change(2, 0.0, "clamp", 0.5),
        Change(3, 1.5, "scale"),
        Change(4, 0.5, "project"),
        Change(5, 4.0),
    )


def test_the_unit_max_activation_multiplies_by_the_measured_maximum(sae: SAE) -> None:
    Feature.objects.create(sae=sae, index=5, maximum=12.0)
    features: dict[str, Any] = {"5": 0.5, "6": {"mode": "scale", "value": 3}, "7": {"mode": "ablate"}}
    [part] = spec(sae, features=features, unit="max_activation").parts
    assert part.changes == (Change(5, 6.0), Change(6, 3.0, "scale"), Change(7, 0.0, "clamp"))
    with pytest.raises(StatisticsUnknown) as caught:
        spec(sae, features={"8": {"mode": "clamp", "value": 0.5}}, unit="max_activation")
    told = "steering.features.8: the largest activation of feature 8 of main is not known: measure the SAE, or import"
    assert str(caught.value).startswith(told)
    assert caught.value.status == 409


def test_the_unit_residual_counts_in_lengths_of_the_residual_stream(sae: SAE) -> None:
    found = spec(sae, features={"5": 0.5}, unit="residual")
    assert found.parts[0].changes == (Change(5, 5.0, is_length=True),)
    assert described(found)[0]["features"] == {"5": {"mode": "add", "length": 5.0}}
    # The norm is one of the hook point, so that of an SAE there holds for a vector set too.
    [part] = spec(sae, also=[{"sae": "set", "layer": 2, "features": {"0": 0.1}, "unit": "residual"}]).parts
    assert part.changes == (Change(0, 1.0, is_length=True),)
    with pytest.raises(StatisticsUnknown, match=r"also\.0\.features: the norm of the residual stream at blocks"):
        spec(sae, also=[{"sae": "below", "features": {"1": 1}, "unit": "residual"}])


def test_a_part_is_at_the_hook_point_of_its_sae(sae: SAE) -> None:
    below = SAE.objects.get(pk="below")
    also = [{"sae": "below", "features": {"1": 2}, "positions": {"of": "prompt", "last": 3}}]
    found = spec(sae, features={"1": 1}, also=also, positions="answer")
    assert found.parts == (
        SteeringPart(
            "below", "b" * 64, 1, below.hook_name, (Change(1, 2.0),), below.place, Positions("prompt", last=3)
        ),
        SteeringPart("main", "m" * 64, 2, sae.hook_name, (Change(1, 1.0),), sae.place, Positions("answer")),
    )


def test_a_vector_set_that_spans_layers_is_a_part_for_each_layer(sae: SAE) -> None:
    also: list[dict[str, Any]] = [{"sae": "set", "features": {"1": 2}}]
    found = spec(sae, also=also)
    places = [(part.layer, part.hook_name) for part in found.parts]
    assert places == [(layer, f"blocks.{layer}.hook_resid_post") for layer in (1, 2, 3)]
    assert {part.changes for part in found.parts} == {(Change(1, 2.0),)}
    [part] = spec(sae, also=[{**also[0], "layer": 3}]).parts
    assert part.hook_name == "blocks.3.hook_resid_post"
    assert resolve(Steering.parse({"also": also}), None) == found


def test_two_parts_at_one_place_are_one_part_of_the_spec(sae: SAE) -> None:
    also = [{"sae": "main", "features": {"1": 2, "2": 1}}, {"sae": "main", "features": {"1": {"mode": "project"}}}]
    [part] = spec(sae, features={"1": 1}, also=also).parts
    assert part.changes == (Change(1, 3.0), Change(1, 1.0, "project"), Change(2, 1.0))
    clamp = {"1": {"mode": "clamp", "value": 1}}
    with pytest.raises(InvalidSteering, match="feature 1 of SAE main is clamped to 1 and to 0"):
        spec(sae, features=clamp, also=[{"sae": "main", "features": {"1": {"mode": "ablate"}}, "positions": "answer"}])


def test_a_condition_is_at_a_hook_point_that_the_model_has_passed(sae: SAE) -> None:
    below = SAE.objects.get(pk="below")
    [part] = spec(sae, features={"1": 1}, when={"feature": 3, "above": 2}).parts
    assert part.when == Condition("main", "m" * 64, 2, sae.hook_name, 3, 2.0, place=sae.place)
    [part] = spec(sae, features={"1": 1}, when={"feature": 3, "above": 2, "sae": "below", "so_far": True}).parts
    assert part.when == Condition("below", "b" * 64, 1, below.hook_name, 3, 2.0, True, below.place)
    with pytest.raises(InvalidSteering) as caught:
        spec(sae, features={"1": 1}, when={"feature": 3, "above": 2, "sae": "above"})
    told = "steering.when: the model passes blocks.3.hook_resid_post, the hook point of above, after blocks.2"
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("hook_point", "passes"),
    [("hook_resid_pre", True), ("hook_attn_out", True), ("hook_mlp_out", True), ("hook_resid_post", False)],
)
def test_in_a_block_the_order_is_pre_attention_mlp_post(sae: SAE, hook_point: str, passes: bool) -> None:
    made("same", 2, hook_point, is_also_attached=True)
    made("mlp", 2, "hook_mlp_out", is_also_attached=True)
    also = [{"sae": "mlp", "features": {"1": 1}, "when": {"feature": 3, "above": 2, "sae": "same"}}]
    if passes:
        assert spec(sae, also=also).parts[0].when is not None
    else:
        with pytest.raises(InvalidSteering, match=r"also\.0\.when: the model passes blocks\.2\.hook_resid_post"):
            spec(sae, also=also)


def test_a_condition_of_a_set_that_spans_layers_is_at_the_steered_layer(sae: SAE) -> None:
    parts = spec(sae, also=[{"sae": "set", "features": {"1": 2}, "when": {"feature": 0, "above": 1}}]).parts
    assert [part.when and part.when.hook_name for part in parts] == [part.hook_name for part in parts]
    [part] = spec(sae, features={"1": 1}, when={"feature": 0, "above": 1, "sae": "set"}).parts
    assert part.when is not None
    assert (part.when.layer, part.when.hook_name) == (2, "blocks.2.hook_resid_post")


@pytest.mark.parametrize(
    ("document", "error", "field", "told"),
    [
        ({"features": {"100": 1}}, InvalidSteering, "features.100", "out of range: main has 100 features"),
        ({"also": [{"sae": "x", "features": {"1": 1}}]}, SAENotAttached, "also.0.sae", "x is not attached: attach it"),
        (
            {"also": [{"sae": "below", "layer": 2, "features": {"1": 1}}]},
            SAENotAttached,
            "also.0.layer",
            "got 2, and below is at 1",
        ),
        (
            {"also": [{"sae": "set", "features": {"2": 1}}]},
            InvalidSteering,
            "also.0.features.2",
            "out of range: set has 2 features",
        ),
        (
            {"also": [{"sae": "set", "features": {"1": {"mode": "ablate"}}}]},
            InvalidSteering,
            "also.0.features.1",
            "ablate needs the encoder of an SAE, and set is a vector set: expected add or project",
        ),
        (
            {"also": [{"sae": "set", "features": {"1": {"mode": "scale", "value": 2}}}]},
            InvalidSteering,
            "also.0.features.1",
            "scale needs the encoder",
        ),
        (
            {"features": {"1": 1}, "when": {"feature": 3, "above": 1, "sae": "x"}},
            SAENotAttached,
            "when.sae",
            "x is not attached",
        ),
        (
            {"features": {"1": 1}, "when": {"feature": 300, "above": 1}},
            InvalidSteering,
            "when.feature",
            "feature 300 is out of range",
        ),
    ],
)
def test_what_cannot_steer_is_named_by_its_path(
    sae: SAE, document: Any, error: type[Refused], field: str, told: str
) -> None:
    with pytest.raises(error) as caught:
        spec(sae, **document)
    assert caught.value.details["field"] == f"steering.{field}"
    assert told in str(caught.value)


def test_features_need_an_attached_sae(sae: SAE) -> None:
    with pytest.raises(NoSAEAttached):
        spec(None, features={"1": 1})

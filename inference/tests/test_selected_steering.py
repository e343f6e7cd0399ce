"""What steers a request: documents, sums of profiles, intensity; the spec that the request's message gets."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model

from inference.models import LanguageModel
from inference.openai.errors import OpenAIError
from inference.openai.selection import Selection, select
from inference.reading.request import Reading
from profiles.models import Profile
from steering.models import SAE, Feature, SteeringState
from steering.spec import Change, Positions, SteeringSpec


@pytest.fixture(autouse=True)
def here(transactional_db: None) -> SAE:
    """A model with an attached SAE of 100 features at layer 2, another one at layer 1, and two profiles."""
    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    common = {"source": "/s", "status": "ready", "d_in": 16, "d_sae": 100}
    main = SAE.objects.create(id="main", layer=2, hook_name="blocks.2.hook_resid_post", fingerprint="a" * 64, **common)
    model.attach(main)
    SAE.objects.create(id="other", layer=1, hook_name="blocks.1.hook_resid_post", is_also_attached=True, **common)
    Profile.objects.create_from(name="ocean", strengths={1: 4.0, 2: 2.0})
    Profile.objects.create_from(name="formal", strengths={2: 1.0, 3: {"mode": "ablate"}}, more={"intensity": 0.5})
    return main


def chosen(model_id: str = "tiny", profile: str | None = None, intensity: float | None = None, **steering: Any) -> Any:
    user: Any = get_user_model()(username="root", is_superuser=True, is_active=True)
    return select(user, model_id, profile, steering or None, intensity)


def changes(selection: Selection) -> list[Change]:
    return [change for part in selection.steering.parts for change in part.changes] if selection.steering else []


def refused(*args: Any, **kwargs: Any) -> OpenAIError:
    with pytest.raises(OpenAIError) as caught:
        chosen(*args, **kwargs)
    return caught.value


def test_plain_features_are_the_spec_they_always_were(here: SAE) -> None:
    plain = SteeringSpec.build("main", "a" * 64, 2, here.hook_name, {1: 4.0, 2: 2.0}, here.place)
    assert chosen(features={"1": 4, "2": 2}).steering == plain
    assert chosen("tiny:ocean").steering == plain
    assert chosen(features=[{"index": 2, "strength": 2}, {"index": 1, "strength": 4}]).steering == plain
    assert chosen(features={}).steering is None


def test_a_document_of_a_request_has_all_that_a_profile_may_have() -> None:
    also = [{"sae": "other", "features": {"7": 1.5}, "positions": "prompt"}]
    found = chosen(features={"1": {"mode": "clamp", "value": 3}}, also=also, positions="answer", intensity=0.5)
    assert [(part.sae_id, part.positions) for part in found.steering.parts] == [
        ("other", Positions("prompt")),
        ("main", Positions("answer")),
    ]
    Profile.objects.create_from(
        name="same", strengths={1: {"mode": "clamp", "value": 3}}, more={"also": also, "positions": "answer"}
    )
    assert changes(found) == [Change(7, 0.75), Change(1, 3.0, "clamp", 0.5)]
    assert chosen("tiny:same", intensity=0.5).steering == found.steering


def test_an_intensity_is_in_the_request_or_in_the_model_id() -> None:
    half = [Change(1, 2.0), Change(2, 1.0)]
    assert changes(chosen("tiny:ocean", intensity=0.5)) == half
    assert changes(chosen("tiny:ocean@0.5")) == half
    assert changes(chosen(intensity=0.5, features={"1": 4, "2": 2})) == half
    assert changes(chosen("tiny", "ocean", 0.5)) == half
    assert chosen("tiny", "ocean", 0.5).activates == Profile.objects.get(name="ocean").pk
    assert changes(chosen("tiny:formal@2")) == [Change(2, 1.0), Change(3, 0.0, "clamp", 1.0)]
    assert chosen("tiny:ocean@0").steering is None
    assert refused("tiny:ocean@0.5", None, 1.0).param == "intensity"
    assert refused("tiny:ocean@2.5").code == "model_not_found"
    assert refused("tiny:ocean@half").code == "model_not_found"


def test_a_profile_whose_name_looks_like_an_intensity_is_found_first() -> None:
    Profile.objects.create_from(name="ocean@0.5", strengths={9: 9.0})
    assert changes(chosen("tiny:ocean@0.5")) == [Change(9, 9.0)]


def test_an_intensity_scales_the_live_steering_of_its_request() -> None:
    Profile.objects.get(name="ocean").activate()
    assert changes(chosen(intensity=0.25)) == [Change(1, 1.0), Change(2, 0.5)]
    assert chosen(intensity=0.25).profile == "ocean"
    assert SteeringState.objects.load().strengths == {1: 4.0, 2: 2.0}


def test_profiles_are_summed_by_their_weights() -> None:
    found = chosen(profiles={"ocean": 0.5, "formal": 1}, features={"1": 1.0})
    assert changes(found) == [Change(1, 3.0), Change(2, 1.5), Change(3, 0.0, "clamp", 0.5)]
    assert found.profile is None
    assert [(used.name, used.intensity) for used in found.profiles] == [("ocean", 0.5), ("formal", 0.5)]
    assert changes(chosen(profiles={"ocean": 1}, intensity=0.5)) == [Change(1, 2.0), Change(2, 1.0)]
    assert Profile.objects.active() is None


def test_a_sum_is_on_top_of_the_live_steering_where_it_says_so() -> None:
    state = SteeringState.objects.load()
    state.replace({1: 1.0, 9: 1.0})
    assert changes(chosen(profiles={"ocean": 1}, on_top=True)) == [Change(1, 5.0), Change(2, 2.0), Change(9, 1.0)]
    assert changes(chosen(features={"9": 1}, on_top=True)) == [Change(1, 1.0), Change(9, 2.0)]
    assert changes(chosen(profiles={"ocean": 1})) == [Change(1, 4.0), Change(2, 2.0)]
    state.disable()
    assert changes(chosen(features={"9": 1}, on_top=True)) == [Change(9, 1.0)]


@pytest.mark.parametrize(
    ("steering", "status", "param", "told"),
    [
        ({"profiles": {"nobody": 1}}, 404, "steering.profiles.nobody", "there is no profile 'nobody'"),
        ({"profiles": {"ocean": 3}}, 400, "steering.profiles.ocean", "from 0 to 2"),
        ({"features": {"100": 1}}, 400, "steering.features.100", "the SAE has 100 features"),
        ({"also": [{"sae": "away", "features": {"1": 1}}]}, 409, "steering.also.0.sae", "away is not attached"),
        ({"features": {"1": 1}, "unit": "max_activation"}, 409, "steering.features.1", "measure the SAE, or import"),
        (
            {"profiles": {"formal": 1}, "features": {"3": {"mode": "clamp", "value": 2}}},
            400,
            "steering",
            "feature 3 of SAE main is clamped to 2 and to 0",
        ),
        ({"features": {"1": 1}, "unit": "percent"}, 400, "steering.unit", "expected one of raw, max_activation"),
    ],
)
def test_what_cannot_steer_a_request_is_named(steering: dict[str, Any], status: int, param: str, told: str) -> None:
    error = refused(**steering)
    assert (error.status, error.param) == (status, param), error
    assert told in str(error)


def test_a_header_names_the_profiles_with_intensity_sae_layer_and_hash() -> None:
    found = chosen("tiny:ocean@0.5")
    hash_ = found.steering.fingerprint
    assert found.headers() == {
        "X-miLLM-Steering": hash_,
        "X-miLLM-Profile": "ocean",
        "X-miLLM-Steering-Profile": f'profile;name="ocean";intensity=0.5;sae="main";layer=2;hash="{hash_}"',
    }
    both = chosen(profiles={"ocean": 0.3333, "formal": 1}).headers()
    assert both["X-miLLM-Profile"] == ""
    assert [item.split(";")[1:3] for item in both["X-miLLM-Steering-Profile"].split(", ")] == [
        ['name="ocean"', "intensity=0.333"],
        ['name="formal"', "intensity=0.5"],
    ]
    Profile.objects.create_from(name='λ "x"', strengths={1: 1.0})
    assert 'name="%CE%BB %22x%22"' in chosen('tiny:λ "x"').headers()["X-miLLM-Steering-Profile"]
    assert "X-miLLM-Steering-Profile" not in chosen(features={"1": 1}).headers()


def test_raw_values_are_given_where_a_unit_is_not_raw() -> None:
    Feature.objects.create(sae_id="main", index=1, maximum=8.0)
    found = chosen(features={"1": 0.5}, unit="max_activation")
    place = {"sae": "main", "layer": 2, "hook_name": "blocks.2.hook_resid_post"}
    assert found.details() == {"steering": [{**place, "features": {"1": 4.0}}]}
    assert chosen(features={"1": 0.5}).details() == {}
    assert chosen(features={}, unit="max_activation").details() == {}


def test_a_reading_is_steered_by_the_same_documents() -> None:
    reading = Reading.of("other")
    spec = reading.spec({"features": {"5": 2}, "positions": "prompt"}, None, 0.5)
    assert spec is not None
    [part] = spec.parts
    assert (part.sae_id, part.changes, part.positions) == ("other", (Change(5, 1.0),), Positions("prompt"))
    assert reading.spec(None, "ocean") == chosen("tiny:ocean").steering
    # Features of a profile are of the attached SAE, also where another one reads.
    summed = reading.spec({"profiles": {"ocean": 1}, "features": {"5": 2}}, None)
    assert summed is not None
    assert [(part.sae_id, part.changes) for part in summed.parts] == [
        ("other", (Change(5, 2.0),)),
        ("main", (Change(1, 4.0), Change(2, 2.0))),
    ]

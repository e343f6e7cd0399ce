"""Sweeps by REST: what is made, refused, shown and permitted. No worker is here."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from inference.models import LanguageModel
from inference.sweeps.models import Sweep, SweepCell
from inference.tests.test_model_resources import user
from profiles.models import Profile
from steering.models import SAE

pytestmark = pytest.mark.django_db
URL = "/api/sweeps"
HOOK = {"d_in": 16, "d_sae": 100, "layer": 2, "hook_name": "blocks.2.hook_resid_post", "status": "ready"}
PLAN: dict[str, Any] = {"profile": "ocean", "values": [0.5, 1], "prompts": ["x"]}


@pytest.fixture
def api() -> APIClient:
    """A user who may make sweeps, with a profile of an attached SAE, and an SAE that is also attached."""
    model = LanguageModel.objects.create(
        name="tiny", source="/tiny", d_model=16, num_layers=4, context_length=512, sampling_defaults={"top_p": 0.9}
    )
    model.make_current()
    model.attach(SAE.objects.create(id="s", source="/sae", fingerprint="a" * 64, **HOOK))
    SAE.objects.create(id="also", source="/also", fingerprint="b" * 64, is_also_attached=True, **HOOK)
    SAE.objects.create(id="off", source="/off", **HOOK)
    Profile.objects.create_from(name="ocean", strengths={3: 4.0})
    return user("view_profile", "change_profile")


def post(api: APIClient, **plan: Any) -> Any:
    given = {name: value for name, value in (PLAN | plan).items() if value is not None}
    return api.post(URL, given, format="json")


def made(api: APIClient, **plan: Any) -> Sweep:
    answer = post(api, **plan)
    assert answer.status_code == 202, answer.data
    return Sweep.objects.get(pk=answer.data["id"])


def test_a_sweep_keeps_the_steering_of_each_value_and_waits_for_a_worker(api: APIClient) -> None:
    answer = post(api, seeds=[1, 2])
    shown = {name: answer.data[name] for name in ("profile", "sae", "model", "values", "status", "waits", "total")}
    assert shown == {
        "profile": "ocean",
        "sae": "",
        "model": "tiny",
        "values": [0.0, 0.5, 1.0],
        "status": "queued",
        "waits": True,
        "total": 6,
    }
    sweep = Sweep.objects.get()
    profile = Profile.objects.get()
    assert sweep.specs() == [None, profile.spec(0.5), profile.spec(1.0)]
    assert sweep.steerings[1]["parts"][0]["sae_fingerprint"] == "a" * 64
    assert sweep.model_version == LanguageModel.objects.get().version
    assert (sweep.sampling["top_p"], sweep.sampling["temperature"]) == (0.9, 1.0)
    assert sweep.document == {"features": {"3": 4.0}}
    detail = api.get(f"{URL}/{sweep.pk}").data
    assert (detail["prompts"], detail["seeds"], detail["words"], detail["cells"]) == (["x"], [1, 2], [], [])
    assert [effects["value"] for effects in detail["effects"]] == [0.0, 0.5, 1.0]
    assert [row["id"] for row in api.get(URL).data["results"]] == [sweep.pk]


def test_values_are_a_list_or_a_range(api: APIClient) -> None:
    assert made(api, values={"from": 0, "to": 0.3, "count": 4}).values == [0.0, 0.1, 0.2, 0.3]
    assert made(api, values=[2, 0, 0.5, 2]).values == [0.0, 0.5, 2.0]


def test_a_feature_varies_alone(api: APIClient) -> None:
    sweep = made(api, profile=None, feature=7, values=[-2])
    assert (sweep.sae_id, sweep.feature, sweep.document) == ("s", 7, {"features": {"7": 1.0}})
    steered, unsteered = sweep.specs()
    assert unsteered is None
    assert steered is not None
    assert [(part.sae_id, part.changes[0].index, part.changes[0].value) for part in steered.parts] == [("s", 7, -2.0)]
    beside = made(api, profile=None, feature=7, sae="also", values=[3]).specs()[1]
    assert beside is not None
    assert [(part.sae_id, part.changes[0].value) for part in beside.parts] == [("also", 3.0)]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"values": []}, "values: got 0, expected 1 to 50"),
        ({"values": [0.1] * 51}, "values: got 51, expected 1 to 50"),
        ({"values": [2.5]}, "values.1: got 2.5, expected a finite number from 0 to 2"),
        ({"values": [-1]}, "values.0: got -1.0, expected a finite number from 0 to 2"),
        ({"values": ["1"]}, "values.0: got '1', expected a number"),
        ({"values": "1"}, "values: got a string, expected a list of numbers, or a range such as"),
        ({"values": {"from": 0, "to": 1}}, "values: got a range with from, to, expected from, to and count"),
        ({"values": {"from": 0, "to": 1, "count": 51}}, "values.count: got 51, expected an integer from 2 to 50"),
        ({"values": {"from": 1, "to": 1, "count": 3}}, "values: got a range from 1 to 1, expected two different ends"),
        ({"prompts": []}, "prompts: got 0, expected 1 to 50"),
        ({"prompts": ["x", " "]}, "prompts.1: got an empty prompt, expected a text"),
        ({"prompts": ["x" * 100_001]}, "prompts: got 100,001 characters in all, expected at most 100,000"),
        ({"prompts": [[{"role": "user", "content": "x"}]], "chat": False}, "prompts.0: got messages without `chat`"),
        ({"prompts": ["\x00"]}, "prompts: got a NUL character"),
        ({"seeds": []}, "seeds: got 0, expected 1 to 20"),
        ({"seeds": [1, 1]}, "seeds: got a seed twice"),
        ({"words": ["a"] * 21}, "words: got 21, expected 0 to 20"),
        ({"words": ["a", "a"]}, "words: got a word twice"),
        ({"words": ["a" * 101]}, "words.0: got 101 characters, expected 1 to 100"),
        ({"max_tokens": 10**6}, "max_tokens: got 1000000, expected a number from 1 to"),
        (
            {"values": {"from": 0, "to": 2, "count": 50}, "prompts": ["x", "y"], "seeds": list(range(11))},
            "values: got 50 values × 2 prompts × 11 seeds, which are 1,100 answers: expected at most 1,000 in all",
        ),
        (
            {"values": [1], "prompts": ["x"] * 50, "seeds": list(range(10)), "max_tokens": 501},
            "max_tokens: got 2 values × 50 prompts × 10 seeds of up to 501 tokens, which are 501,000: expected at most",
        ),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_what_was_got_and_expected(
    api: APIClient, plan: Any, message: str
) -> None:
    answer = post(api, **plan)
    assert answer.status_code == 400, answer.data
    assert message in answer.data["detail"]
    assert answer.data["field"] == message.split(": ")[0]
    assert not Sweep.objects.exists()


@pytest.mark.parametrize(
    ("plan", "field", "message"),
    [
        ({"feature": 3}, "profile", "Got profile and feature, expected one"),
        ({"profile": None}, "profile", "Got none of them, expected one of profile and feature."),
        ({"sae": "s"}, "sae", "Got an SAE with a profile"),
        ({"temperature": 3}, "temperature", "Expected at most 2."),
        ({"tempurature": 3}, "tempurature", "This field is unknown."),
        ({"prompts": "x"}, "prompts", "Got 'x', expected a list"),
        ({"prompts": [[{"role": "user"}]]}, "prompts", "0: 0: "),
        ({"seeds": [-1]}, "seeds", ""),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(api: APIClient, plan: Any, field: str, message: str) -> None:
    answer = post(api, **plan)
    assert answer.status_code == 400
    assert message in str(answer.data[field])


def test_what_does_not_fit_is_refused(api: APIClient) -> None:
    assert post(api, profile="none").data["code"] == "profile_not_found"
    assert post(api, profile=None, feature=100).data["detail"] == "feature: got 100, and s has 100 features"
    refused = post(api, profile=None, feature=1, sae="off").data
    assert (refused["code"], refused["detail"][:27]) == ("no_sae_attached", "SAE off is not attached: at")
    SAE.objects.filter(pk="s").update(is_attached=False)
    assert post(api).data["code"] == "profile_incompatible"
    LanguageModel.objects.get().unload()
    assert post(api, profile=None, feature=1, sae="also").data["code"] in {"no_current_model", "no_sae_attached"}
    assert not Sweep.objects.exists()


def test_a_sweep_of_too_many_features_is_refused(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.sweeps.models.MAX_CHANGES", 1)
    assert "expected at most 1 features in all: sweep fewer values" in post(api).data["detail"]


def test_sweeps_need_the_permissions_of_profiles(api: APIClient) -> None:
    sweep = made(api)
    viewer, blind, half = user("view_profile"), user("view_sae"), user("change_profile")
    url = f"{URL}/{sweep.pk}"
    for path in (URL, url, f"{url}/cells.csv", f"{url}/cells.json"):
        assert viewer.get(path).status_code == 200
        assert blind.get(path).status_code == half.get(path).status_code == 403
    for other in (viewer, blind, half):
        assert post(other).status_code == 403
        assert other.post(f"{url}/cancel").status_code == other.post(f"{url}/resume").status_code == 403
        assert other.delete(url).status_code == 403
    assert api.delete(url).status_code == 204


def test_one_that_is_not_there_is_not_found(api: APIClient) -> None:
    for number in (99, 2**70):
        for answer in (
            api.get(f"{URL}/{number}"),
            api.post(f"{URL}/{number}/cancel"),
            api.get(f"{URL}/{number}/cells.csv"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "sweep_not_found")


def test_the_life_of_a_sweep(api: APIClient) -> None:
    sweep = made(api)
    url = f"{URL}/{sweep.pk}"
    assert api.post(f"{url}/resume").data["code"] == "nothing_to_cancel"
    assert api.post(f"{url}/cancel").data["status"] == "cancelled"
    assert api.post(f"{url}/cancel").status_code == 409
    assert api.post(f"{url}/resume").data["status"] == "queued"
    for at, place in enumerate(sweep.missing()):
        SweepCell(sweep=sweep, **place._asdict(), error="" if at else "no").store()
    Sweep.objects.update(status="done", due_at=None)
    resumed = api.post(f"{url}/resume").data
    assert (resumed["status"], resumed["ended"], resumed["waits"]) == ("queued", 2, True)
    assert list(sweep.missing()) == [(0, 0, 1)]

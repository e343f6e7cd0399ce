"""Setups: what a load or an unload ends is kept, and restored as one."""

from typing import Any

import pytest

from inference.models import LanguageModel
from inference.setups.errors import SetupGone, SetupIncomplete
from inference.setups.models import KEPT, Setup
from inference.tests.conftest import say
from profiles.models import Profile
from steering.models import SAE, SteeringState

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_redis")]

SHAPE = {"d_model": 16, "num_layers": 4, "context_length": 512}
READY = {"status": "ready", "d_in": 16, "d_sae": 100, "layer": 2, "hook_name": "blocks.2.hook_resid_post"}


def model(name: str) -> LanguageModel:
    return LanguageModel.objects.create(name=name, source=f"/{name}", **SHAPE)


@pytest.fixture
def ocean() -> Profile:
    """The active profile of the model `first`, which has two SAEs."""
    first = model("first")
    first.load()
    for sae_id in ("main", "beside"):
        made = SAE.objects.create(id=sae_id, source="/sae", fingerprint=sae_id * 8, **READY)
        first.attach(made, also=sae_id == "beside")
    profile = Profile.objects.create_from(name="ocean", strengths={3: 4.0})
    profile.activate()
    return profile


def now() -> Setup:
    found = Setup.objects.now()
    assert found
    return found


def before() -> Setup:
    found = Setup.objects.before()
    assert found
    return found


def test_a_load_keeps_the_setup_that_it_ends_and_one_call_brings_all_of_it_back(ocean: Profile) -> None:
    left = now()
    model("second").load()
    assert (str(now()), Profile.objects.active()) == ("model second", None)
    kept = before()
    assert kept.content == left.content
    assert str(kept) == "model first with SAE main, SAE beside and profile ocean"
    assert kept.why == "model second was loaded"
    assert kept.author
    assert kept.restore() == []
    assert now().content == left.content
    assert [sae.pk for sae in SAE.objects.all_attached()] == ["main", "beside"]
    state = SteeringState.objects.load()
    assert (Profile.objects.active(), state.enabled, state.strengths) == (ocean, True, {3: 4.0})


def test_going_back_is_undone_the_same_way(ocean: Profile) -> None:
    model("second").load()
    before().restore()
    assert str(before()) == "model second"
    assert before().why == "an earlier setup was restored"
    before().restore()
    assert str(now()) == "model second"
    before().restore()
    assert Profile.objects.active() == ocean


def test_an_unload_and_other_load_options_keep_the_setup_too(ocean: Profile) -> None:
    first = LanguageModel.objects.get()
    first.change_options(dtype="float32")
    assert (before().dtype, before().why) == ("auto", "the load options of first were changed")
    first.unload()
    assert [(kept.dtype, kept.profile_name) for kept in Setup.objects.all()] == [
        ("float32", "ocean"),
        ("auto", "ocean"),
    ]
    Setup.objects.all()[1].restore()
    assert (now().dtype, Profile.objects.active()) == ("auto", ocean)


def test_what_changes_nothing_keeps_nothing(ocean: Profile) -> None:
    first = LanguageModel.objects.get()
    first.load()
    first.change_options(dtype="auto")
    model("other").unload()
    assert not Setup.objects.exists()


def test_the_last_five_that_differ_are_kept(ocean: Profile) -> None:
    for number in range(KEPT + 1):
        model(f"m{number}").load()
    assert [kept.model_name for kept in Setup.objects.all()] == ["m4", "m3", "m2", "m1", "m0"]
    LanguageModel.objects.get(name="m2").load()
    LanguageModel.objects.get(name="m1").load()  # m2 is left again: it moves to the top
    assert [kept.model_name for kept in Setup.objects.all()] == ["m2", "m5", "m4", "m3", "m1"]
    assert before().model_name == "m2"


def test_live_steering_by_hand_comes_back_with_its_values(ocean: Profile) -> None:
    SteeringState.objects.load().set_features({7: -2.0})
    SteeringState.objects.load().disable()
    model("second").load()
    assert before().steering_in_words == "2 features, off"
    before().restore()
    state = SteeringState.objects.load()
    assert (state.enabled, state.strengths, state.sae_id) == (False, {3: 4.0, 7: -2.0}, "main")
    assert Profile.objects.active() == ocean
    ocean.deactivate(clear_steering=False)
    LanguageModel.objects.get(name="second").load()
    before().restore()
    assert (SteeringState.objects.load().strengths, Profile.objects.active()) == ({3: 4.0, 7: -2.0}, None)


def test_an_edited_profile_steers_as_it_is_now(ocean: Profile) -> None:
    model("second").load()
    ocean.refresh_from_db()
    ocean.strengths = {5: 1.0}
    ocean.save()
    before().restore()
    assert SteeringState.objects.load().strengths == {5: 1.0}


# --- what is missing ---


def lose_the_profile() -> None:
    Profile.objects.get().delete()


def lose_an_sae() -> None:
    SAE.objects.get(pk="beside").delete()


def lose_the_main_sae() -> None:
    SAE.objects.get(pk="main").delete()


def change_the_weights() -> None:
    SAE.objects.filter(pk="beside").update(fingerprint="f" * 64)


def break_an_sae() -> None:
    SAE.objects.filter(pk="beside").update(status="error", error="its disk is gone")


@pytest.mark.parametrize(
    ("lose", "listed", "missing"),
    [
        (lose_the_profile, ["Profile ocean was deleted."], ["Profile ocean cannot be restored: it was deleted."]),
        (lose_an_sae, ["SAE beside was deleted."], ["SAE beside cannot be restored: it was deleted."]),
        (
            lose_the_main_sae,
            ["SAE main was deleted."],
            [
                "SAE main cannot be restored: it was deleted.",
                "Profile ocean cannot be restored: profile 'ocean' does not fit: no SAE is attached.",
            ],
        ),
        (
            change_the_weights,
            ["SAE beside has other weights now."],
            ["SAE beside cannot be restored: its weights are others now."],
        ),
        (
            break_an_sae,
            [],
            ["SAE beside cannot be restored: SAE beside is error: its disk is gone: expected ready."],
        ),
    ],
)
def test_a_part_that_is_missing_is_named_and_the_rest_comes_back_only_where_that_is_accepted(
    ocean: Profile, lose: Any, listed: list[str], missing: list[str]
) -> None:
    model("second").load()
    lose()
    kept = before()
    assert kept.missing == listed
    assert kept.plan() == missing
    with pytest.raises(SetupIncomplete) as refused:
        kept.restore()
    assert refused.value.details == {"missing": missing}
    assert str(now()) == "model second", "a plan and a refusal change nothing"
    assert kept.restore(partly=True) == missing
    assert now().model_name == "first"
    assert now().content != kept.content
    assert Setup.objects.filter(pk=kept.pk).exists(), "it still has what is missing"


def test_a_setup_whose_model_is_gone_is_refused(ocean: Profile) -> None:
    second = model("second")
    second.load()
    LanguageModel.objects.get(name="first").delete()
    LanguageModel.objects.create(name="first", source="/another", **SHAPE)
    assert before().missing == ["Model first was deleted, or is another one now."]
    for attempt in (before().plan, before().restore, lambda: before().restore(partly=True)):
        with pytest.raises(SetupGone, match="the model first of /first is not registered"):
            attempt()
    assert LanguageModel.objects.current() == second


# --- loads that failed ---


def test_a_load_that_failed_or_was_cancelled_leaves_nothing_to_go_back_to(ocean: Profile) -> None:
    broken, slow, third = model("broken"), model("slow"), model("third")
    broken.load()
    say(broken, "error", error="it is broken")
    slow.load()
    slow.cancel()
    third.load()
    assert [kept.model_name for kept in Setup.objects.all()] == ["first"]
    before().restore()
    assert Profile.objects.active() == ocean


def test_going_back_to_a_model_that_a_worker_still_serves_asks_for_no_new_load(ocean: Profile) -> None:
    first, broken = LanguageModel.objects.get(), model("broken")
    load_id = first.load_id
    broken.load()
    say(broken, "error", error="it is broken")
    before().restore()
    first.refresh_from_db()
    assert first.load_id == load_id
    say(first, "error", error="it is broken now")
    model("third").load()
    before().restore()
    first.refresh_from_db()
    assert first.load_id != load_id, "its load failed: it is tried again"

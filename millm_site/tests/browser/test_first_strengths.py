"""The first strength of a feature that a user adds, and the warning of one that breaks answers."""

import pytest
from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_playground import choose
from millm_site.tests.browser.test_profile_form import LIST, box, press
from profiles.models import Profile
from steering.models import SAE, Feature, SteeringState

WARNING = "larger than the mean norm of the residual stream, 45: answers are likely to be broken"


@pytest.fixture(autouse=True)
def measured(page: Page) -> None:
    Feature.objects.update_or_create(sae_id="demo-sae", index=79, defaults={"maximum": 25.0})
    SAE.objects.update(residual_norm=45.0)


def add(page: Page, feature: str) -> None:
    search = page.get_by_role("combobox", name="Add a feature")
    search.fill(feature)
    search.press("Enter")


def test_a_feature_begins_at_half_of_its_largest_activation(page: Page) -> None:
    page.goto(f"{LIST}add/")
    add(page, "79")
    expect(box(page, 79)).to_have_value("12.5")
    add(page, "14")
    expect(box(page, 14)).to_have_value("1")  # nothing was measured
    add(page, "286: 3")
    expect(box(page, 286)).to_have_value("3")
    page.get_by_label("Unit").select_option("max_activation")
    add(page, "3")
    expect(box(page, 3)).to_have_value("0.5")


def test_words_and_enter_add_the_first_offered_feature_without_waiting_for_the_list(page: Page) -> None:
    page.goto(f"{LIST}add/")
    add(page, "shivers slid")
    expect(page.locator("[data-index]")).to_have_count(1)
    expect(page.locator("[data-index]")).to_contain_text("slides")


def test_a_strength_above_the_norm_of_the_residual_stream_has_a_warning_and_is_saved(page: Page) -> None:
    page.goto(f"{LIST}add/")
    page.get_by_label("Name").fill("too strong")
    add(page, "79: 45")
    expect(page.get_by_text(WARNING)).to_have_count(0)
    box(page, 79).fill("-46")
    expect(page.get_by_text(WARNING)).to_be_visible()
    press(page, "Save")
    page.wait_for_url(f"**{LIST}")
    assert Profile.objects.get(name="too strong").strengths == {79: -46.0}


def test_the_live_steering_that_is_off_saves_and_is_turned_on_from_its_note(page: Page) -> None:
    Profile.objects.get(name="ocean").activate()
    SteeringState.objects.load().disable()
    page.goto("/admin/steering/steeringstate/")
    box(page, 79).fill("46")
    box(page, 79).press("Enter")
    status = page.get_by_role("region", name="Current steering").get_by_role("status")
    expect(status).to_contain_text("Saved, off, version")
    expect(page.get_by_text(WARNING)).to_be_visible()
    press(page, "Turn on")
    expect(page.get_by_text("steer nothing")).to_be_hidden()
    assert SteeringState.objects.load().enabled


def test_own_strengths_of_a_pane_begin_and_warn_alike(page: Page) -> None:
    page.goto("/admin/playground/")
    choose(page, "second", "Own strengths")
    add(page, "79")
    own = page.get_by_role("region", name="Second pane")
    expect(box(page, 79)).to_have_value("12.5")
    box(page, 79).fill("46")
    expect(own.get_by_text(WARNING)).to_be_visible()

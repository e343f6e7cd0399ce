"""Modes, settings and parts in the form of a profile, in the browser."""

from playwright.sync_api import Locator, Page, expect

from millm_site.tests.browser.test_profile_form import answer, box, expect_answered, press, slider, url
from profiles.models import Profile


def ocean() -> Profile:
    return Profile.objects.get(name="ocean")


def mode(page: Page, index: int) -> Locator:
    return page.get_by_label(f"Mode of feature {index}", exact=True)


def saved(page: Page) -> Profile:
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/admin/profiles/profile/")
    return ocean()


def test_a_feature_has_a_mode_which_is_tried_saved_and_shown_again(page: Page) -> None:
    page.goto(url("ocean"))
    mode(page, 286).select_option("clamp")
    expect(box(page, 286)).to_have_value("11.87")
    mode(page, 79).select_option("scale")
    expect(box(page, 79)).to_have_value("2")
    expect(slider(page, 79)).to_have_attribute("max", "2")
    press(page, "Try")
    expect_answered(page)
    expect(answer(page, "With these strengths")).not_to_have_text(answer(page, "Without").inner_text())
    page.get_by_role("combobox", name="Add a feature").fill("14")
    page.keyboard.press("Enter")
    mode(page, 14).select_option("ablate")
    expect(slider(page, 14)).to_be_hidden()
    assert saved(page).strengths == {
        14: {"mode": "ablate"},
        79: {"mode": "scale", "value": 2.0},
        286: {"mode": "clamp", "value": 11.87},
    }
    page.goto(url("ocean"))
    expect(mode(page, 14)).to_have_value("ablate")
    mode(page, 79).select_option("add")
    mode(page, 79).press("Tab")
    slider(page, 79).press("End")
    page.locator("h2, h1").first.click()
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert saved(page).strengths[14] == {"mode": "ablate"}


def test_the_settings_of_a_profile_are_tried_and_saved_and_the_sliders_follow_the_unit(page: Page) -> None:
    page.goto(url("ocean"))
    page.get_by_label("Unit").select_option("residual")
    expect(page.locator(".features-head .features-slide span")).to_have_text(["-1", "0", "1"])
    page.get_by_label("Unit").select_option("max_activation")
    box(page, 79).fill("0.5")
    box(page, 79).press("Enter")
    expect(slider(page, 79)).to_have_attribute("min", "0")
    expect(slider(page, 79)).to_have_attribute("max", "2")
    page.get_by_label("Unit").select_option("raw")
    page.get_by_label("Intensity").fill("0.5")
    page.get_by_label("Steered tokens").select_option("first-answer")
    press(page, "Save")
    expect(page.get_by_text("Enter the number of tokens.")).to_be_visible()
    page.get_by_label("Number of tokens").fill("12")
    page.get_by_text("Leave special tokens unsteered").click()
    page.get_by_text("Leave tool calls unsteered").click()
    page.get_by_text("Leave the reasoning unsteered").click()
    page.get_by_label("Condition").fill('{"feature": 79, "above": 0.5, "so_far": true}')
    press(page, "Try")
    expect_answered(page)
    page.get_by_label("Intensity").fill("1.5")
    expect(page.get_by_text("Out of date: your input changed since.").nth(1)).to_be_visible()
    assert saved(page).more == {
        "intensity": 1.5,
        "positions": {"of": "answer", "first": 12},
        "special_tokens": False,
        "tools": False,
        "thinking": False,
        "when": {"feature": 79, "above": 0.5, "so_far": True},
    }
    page.goto(url("ocean"))
    expect(page.get_by_label("Intensity")).to_have_value("1.5")
    expect(page.get_by_label("Steered tokens")).to_have_value("first-answer")
    expect(page.get_by_label("Number of tokens")).to_have_value("12")


def test_mistakes_in_parts_and_conditions_are_at_their_fields(page: Page) -> None:
    page.goto(url("ocean"))
    page.get_by_label("Further parts").fill('[{"sae": "other", "features": {"x": 1}}]')
    page.get_by_label("Condition").fill("{feature: 1}")
    expect(page.get_by_text("Condition: this is not JSON.")).to_be_visible()
    expect(page.get_by_role("button", name="Try", exact=True)).to_be_disabled()
    press(page, "Save")
    expect(page.get_by_text("Enter valid JSON")).to_be_visible()
    expect(page.get_by_label("Condition")).to_have_value("{feature: 1}")
    page.get_by_label("Condition").fill("")
    press(page, "Save")
    expect(page.get_by_text("also.0.features: got index 'x'")).to_be_visible()
    page.get_by_label("Further parts").fill('[{"sae": "other", "features": {"1": 1}}]')
    saved_profile = saved(page)
    assert saved_profile.more == {"also": [{"sae": "other", "features": {"1": 1.0}}]}


def test_a_plain_profile_stays_plain_byte_for_byte(page: Page) -> None:
    before = ocean().document.as_json()
    page.goto(url("ocean"))
    page.get_by_label("Description").fill("as before")
    after = saved(page)
    assert (after.document.as_json(), after.more) == (before, {})

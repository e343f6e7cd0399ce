"""The page of the live steering shows modes, parts and settings, sets the intensity, and keeps the rest."""

from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_live_steering import applied, live, opened, strength, told
from profiles.models import Profile

MORE = {
    "also": [{"sae": "demo-sae", "features": {"9": 2.0}, "positions": "prompt"}],
    "positions": {"of": "answer", "first": 20},
    "when": {"feature": 79, "above": 0.5, "so_far": True},
}


def steer_by_more() -> None:
    ocean = Profile.objects.get(name="ocean")
    ocean.strengths, ocean.more = {**ocean.strengths, 14: {"mode": "clamp", "value": 2.0}}, MORE
    ocean.save()


def test_settings_and_parts_are_shown_and_kept_by_edits_of_features(page: Page) -> None:
    steer_by_more()
    opened(page)
    settings = page.get_by_role("region", name="Settings")
    expect(settings).to_contain_text("first 20 of answer")
    expect(settings).to_contain_text("feature 79 above 0.5, so far")
    expect(settings).to_contain_text("demo-sae: 9: 2; steered tokens prompt")
    expect(page.get_by_label("Mode of feature 14", exact=True)).to_have_value("clamp")
    page.get_by_label("Mode of feature 79", exact=True).select_option("ablate")
    applied(page)
    assert live().strengths == {14: {"mode": "clamp", "value": 2.0}, 79: {"mode": "ablate"}, 286: 11.87}
    assert live().more == MORE
    strength(page, 14).fill("3")
    strength(page, 14).press("Enter")
    expect(page.get_by_text("clamp to 2 → clamp to 3")).to_be_visible()
    assert live().strengths[14] == {"mode": "clamp", "value": 3.0}


def test_the_intensity_is_set_and_changed_by_others(page: Page) -> None:
    opened(page)
    dial = page.get_by_role("slider", name="Intensity")
    dial.press("End")
    expect(told(page)).to_contain_text("Intensity 2, version")
    assert (live().more, live().strengths) == ({"intensity": 2.0}, {79: 6.29, 286: 11.87})
    expect(page.get_by_text("changed by hand since")).to_be_visible()
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.get_by_role("article", name="With these strengths")).to_contain_text("tokens")
    version = live().version
    for key in ("ArrowLeft",) * 4:
        dial.press(key)
    expect(told(page)).to_contain_text("Intensity 1.8, version")
    assert (live().more, live().version) == ({"intensity": 1.8}, version + 1)
    live().set_intensity(0.5)
    expect(dial).to_have_value("0.5")
    page.get_by_role("button", name="Revert to ocean").click()
    expect(dial).to_have_value("1")
    assert live().more == {}

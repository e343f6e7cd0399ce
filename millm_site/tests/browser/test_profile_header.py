"""The header and the order of a profile's page at 1280 pixels, and the menu of its rarer actions."""

import pytest
from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_profile_form import slider, url
from profiles.models import Profile


@pytest.fixture
def profile(page: Page) -> Page:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(url("ocean"))
    return page


def test_the_name_of_a_profile_is_not_covered_by_its_buttons(profile: Page) -> None:
    heading = profile.get_by_role("heading", level=1)
    expect(heading).to_contain_text("ocean")
    history = profile.get_by_role("link", name="History")
    left, right = heading.bounding_box(), history.bounding_box()
    assert left
    assert right
    assert left["x"] + left["width"] <= right["x"]
    assert heading.evaluate("heading => heading.scrollWidth <= heading.clientWidth"), "the name is cut off"


def test_the_strengths_are_seen_without_scrolling(profile: Page) -> None:
    for index in (79, 286):
        place = slider(profile, index).bounding_box()
        assert place
        assert place["y"] + place["height"] < 800 - 64, "above the sticky row of buttons"


def test_rarer_actions_are_in_a_menu_that_keys_open(profile: Page) -> None:
    more = profile.get_by_role("button", name="More")
    menu = profile.get_by_role("navigation", name="More")
    expect(menu).to_be_hidden()
    more.press("Enter")
    for name in ("Sweep …", "Export", "Compare with …"):
        expect(menu.get_by_role("link", name=name)).to_be_visible()
    profile.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    more.click()
    menu.get_by_role("button", name="Duplicate").click()
    profile.wait_for_load_state()
    assert Profile.objects.filter(name__startswith="ocean").count() == 2

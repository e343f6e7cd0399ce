"""Undo in messages, the comparison of two profiles, and tags in the browser."""

import re

from playwright.sync_api import Locator, Page, expect

from profiles.models import Profile
from steering.models import SteeringState

LIST = "/admin/profiles/profile/"


def link(page: Page, name: str) -> Locator:
    """The link to a profile; its text has the description too."""
    return page.get_by_role("link", name=re.compile(rf"^{name}\b"))


def row_of(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=link(page, name))


def act(page: Page, name: str, action: str) -> None:
    row = row_of(page, name)
    row.get_by_role("button", name=f"Actions: {name}").click()
    row.get_by_role("button", name=action, exact=True).click()


def test_an_activation_and_a_deletion_are_undone_from_their_messages(page: Page) -> None:
    Profile.objects.named("ocean").activate()
    before = SteeringState.objects.load().strengths
    page.goto(LIST)
    act(page, "space", "Activate")
    page.get_by_role("button", name="Undo").press("Enter")
    expect(page.get_by_text("Undone: ocean is active again")).to_be_visible()
    assert SteeringState.objects.load().strengths == before

    link(page, "ocean").click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("ocean was deleted.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("ocean was restored. Undone: ocean is active again")).to_be_visible()
    assert Profile.objects.active() == Profile.objects.named("ocean")
    assert SteeringState.objects.load().strengths == before


def test_two_profiles_are_compared_from_the_list_and_from_a_profile(page: Page) -> None:
    page.goto(LIST)
    for name in ("ocean", "space"):
        row_of(page, name).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option("Compare")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="From ocean to space")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="6.29")).to_contain_text("removed")
    page.get_by_role("link", name="Swap sides").click()
    expect(page.get_by_role("listitem").filter(has_text="6.29")).to_contain_text("added")

    page.goto(LIST)
    link(page, "ocean").click()
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("navigation", name="More").get_by_role("link", name="Compare with …").click()
    page.get_by_label("to", exact=True).fill("music")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="From ocean to music")).to_be_visible()


def test_tags_are_typed_and_filter_the_list(page: Page) -> None:
    page.goto(LIST)
    link(page, "ocean").click()
    page.get_by_label("Tags").fill("Sea, calm")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="calm", exact=True).click()
    expect(link(page, "ocean")).to_be_visible()
    expect(link(page, "space")).to_have_count(0)

"""The page that blends profiles: its sum is that of the profiles, it is tried, and saved as a new profile."""

import pytest
from playwright.sync_api import Locator, Page, expect

from millm_site.tests.browser.conftest import Watched
from millm_site.tests.browser.test_profile_form import answer, expect_answered, press
from profiles.models import Profile
from steering.document import combine
from steering.models import SAE

PATH = "/admin/profiles/profile/blend/"


@pytest.fixture
def blend(page: Page) -> Page:
    page.goto("/admin/profiles/profile/")
    page.get_by_role("link", name="Blend").click()
    page.wait_for_url(f"**{PATH}*")
    return page


def add(page: Page, name: str) -> None:
    box = page.get_by_label("Add a profile")
    box.fill(name)
    box.press("Enter")
    expect(weight(page, name)).to_have_value("1")


def weight(page: Page, name: str) -> Locator:
    return page.get_by_role("slider", name=f"Weight of {name}")


def shown(page: Page, index: int) -> Locator:
    return page.locator(f'[data-index="{index}"] [data-part=strength]')


def test_two_profiles_are_blended_tried_and_saved(blend: Page) -> None:
    sae = SAE.objects.attached()
    assert sae is not None
    ocean, space = (Profile.objects.get(name=name) for name in ("ocean", "space"))
    add(blend, "ocean")
    add(blend, "space")
    for _ in range(10):
        weight(blend, "ocean").press("ArrowLeft")
    expected = combine([(ocean.document, 0.5), (space.document, 1.0)], sae.pk)
    for index, value in expected.features.items():
        expect(shown(blend, index)).to_have_text(str(value.value).removesuffix(".0"))
    press(blend, "Try")
    expect_answered(blend)
    expect(answer(blend, "With these strengths")).not_to_have_text(answer(blend, "Without").inner_text())

    blend.get_by_label("Save as a new profile").fill("ocean in space")
    press(blend, "Save")
    blend.wait_for_url("**/change/")
    made = Profile.objects.get(name="ocean in space")
    assert (made.document, made.sae_id, made.more) == (expected, sae.pk, {})


def test_what_cannot_be_summed_says_why(blend: Page, watched: Watched) -> None:
    for name, value in (("low", 1.0), ("high", 5.0)):
        Profile.objects.create_from(name=name, strengths={"79": {"mode": "clamp", "value": value}})
    add(blend, "low")
    add(blend, "high")
    expect(blend.get_by_text("is clamped to 1 and to 5")).to_be_visible()
    expect(blend.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    press(blend, "Remove high")
    expect(shown(blend, 79)).to_have_text("1")
    add(blend, "nobody")
    expect(blend.get_by_text("there is no profile 'nobody'")).to_be_visible()
    press(blend, "Remove nobody")
    blend.get_by_label("Save as a new profile").fill("ocean")
    press(blend, "Save")
    expect(blend.get_by_text("a profile 'ocean' already exists")).to_be_visible()
    watched.errors.clear()

"""The way back to the previous setup in the browser: after a load, from a load that failed, and without a part."""

import os
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from inference.models import LanguageModel
from inference.tests.conftest import say
from millm_site.tests.browser.test_pages import MISSING, barriers
from profiles.models import Profile

MODELS = "/admin/inference/languagemodel/"
BACK = "Back to the previous setup"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}


def check(page: Page, name: str) -> None:
    """The page as it is now is sound on a wide light screen and on a narrow dark one."""
    for viewport, dark in ((WIDE, False), (NARROW, True)):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        if folder := os.environ.get("SHOTS"):
            page.screenshot(
                path=Path(folder) / f"{name}-{viewport['width']}.png", full_page=True, animations="disabled"
            )
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
        assert [*page.evaluate(MISSING), *barriers(page)] == [], name
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    page.evaluate("document.documentElement.classList.remove('dark')")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def load(page: Page, name: str) -> LanguageModel:
    """Load another model, whose files are not here, in the place of the demo."""
    shape = {"d_model": 160, "num_layers": 4, "context_length": 512}
    other, _ = LanguageModel.objects.get_or_create(name=name, defaults={"source": f"/nowhere/{name}", **shape})
    page.goto(MODELS)
    press(page, f"Load {name}")
    expect(page.get_by_text(f"Model demo answers, unsteered, until {name} is ready")).to_be_visible()
    check(page, "confirm-load")
    press(page, f"Load {name}")
    expect(page.get_by_text(f"The load of {name} has begun.")).to_be_visible()
    return other


def has_profile(name: str) -> bool:
    active = Profile.objects.active()
    return active is not None and active.name == name


def test_the_message_after_a_load_and_the_page_of_a_failed_one_lead_back(page: Page) -> None:
    Profile.objects.get(name="ocean").activate()
    other = load(page, "other")
    assert Profile.objects.active() is None
    press(page, BACK)
    expect(page.get_by_text("Back to model demo with SAE demo-sae and profile ocean.")).to_be_visible()
    assert has_profile("ocean")

    load(page, "other")
    other.refresh_from_db()
    say(other, "error", error="/nowhere/other cannot be served: it is not there")
    page.goto(f"{MODELS}{other.pk}/change/")
    expect(page.get_by_text("cannot be served: it is not there")).to_be_visible()
    check(page, "failed-load")
    page.goto("/admin/")
    expect(page.get_by_role("button", name=BACK)).to_be_visible()
    check(page, "dashboard")
    page.goto(f"{MODELS}{other.pk}/change/")
    press(page, BACK)
    expect(page.get_by_text("Back to model demo with SAE demo-sae and profile ocean.")).to_be_visible()
    assert has_profile("ocean")


def test_the_list_has_the_setups_and_what_is_missing_is_confirmed(page: Page) -> None:
    Profile.objects.get(name="ocean").activate()
    load(page, "other")
    Profile.objects.get(name="ocean").delete()
    page.goto(MODELS)
    setups = page.get_by_role("region", name="Previous setups")
    expect(setups.get_by_text("Profile ocean was deleted.")).to_be_visible()
    check(page, "list")
    setups.get_by_role("button", name=re.compile("Go back")).click()
    asked = page.get_by_role("heading", name="Go back to model demo with SAE demo-sae and profile ocean?")
    expect(asked.first).to_be_visible()
    expect(page.get_by_text("Profile ocean cannot be restored: it was deleted.")).to_be_visible()
    check(page, "missing")
    press(page, "Go back")
    expect(page.get_by_text("Profile ocean cannot be restored: it was deleted.")).to_be_visible()
    current = LanguageModel.objects.current()
    assert current is not None
    assert current.name == "demo"

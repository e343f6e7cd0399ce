"""Explore in the browser: from a text, or from sentences, to a profile that steers."""

import random
import re
from collections.abc import Iterable

import pytest
from playwright.sync_api import Locator, Page, expect

from inference.demo.grammar import HELD_OUT_PROMPTS, TOPICS, sentence, topic_of
from inference.tests.conftest import Server
from profiles.models import Profile

TEXT = "The whale dives in the sea. A fox howls in the woods."


@pytest.fixture
def explore(page: Page) -> Page:
    page.goto("/admin/explore/")
    return page


def press(page: Page | Locator, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def token(page: Page, text: str) -> Locator:
    return page.get_by_role("toolbar", name="Tokens").get_by_role("button", name=re.compile(f"^{text}, "))


def read(page: Page, text: str = TEXT) -> None:
    page.get_by_role("textbox", name="Text", exact=True).fill(text)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text(re.compile("tokens are read"))).to_be_visible()


def sides(topic: str, count: int = 10) -> tuple[str, str]:
    """Two boxes of sentences: of the topic, and of the others."""
    rng, others = random.Random(0), sorted(TOPICS.keys() - {topic})
    wanted = [sentence(topic, rng) for _ in range(count)]
    return "\n".join(wanted), "\n".join(sentence(rng.choice(others), rng) for _ in range(count))


def test_look(explore: Page, server: Server) -> None:
    page = explore
    page.screenshot(path="/tmp/explore/shots/empty.png", full_page=True)
    read(page)
    page.wait_for_timeout(500)
    page.get_by_role("button", name=re.compile("^Collect")).first.click()
    page.screenshot(path="/tmp/explore/shots/text.png", full_page=True)
    page.get_by_role("tab", name="Contrast").click()
    wanted, other = sides("ocean")
    page.get_by_label("Sentences of the kind that you want").fill(wanted)
    page.get_by_label("Sentences of another kind").fill(other)
    press(page, "Compare")
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    page.get_by_role("button", name=re.compile("^Collect")).nth(0).click()
    page.get_by_role("button", name=re.compile("^Collect")).nth(1).click()
    page.screenshot(path="/tmp/explore/shots/contrast.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path="/tmp/explore/shots/contrast-phone.png", full_page=True)
    page.get_by_role("tab", name="Text").click()
    page.screenshot(path="/tmp/explore/shots/text-phone.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("document.documentElement.classList.add('dark')")
    page.screenshot(path="/tmp/explore/shots/text-dark.png", full_page=True)
    press(page, "New profile of these")
    page.wait_for_url("**/add/**")
    press(page, "Find features")
    page.wait_for_timeout(300)
    press(page, "Compare")
    page.wait_for_timeout(1000)
    page.screenshot(path="/tmp/explore/shots/form.png")

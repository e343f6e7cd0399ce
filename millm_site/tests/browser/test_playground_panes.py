"""The number of panes of the playground: they are added, closed, brought back, and all answer."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_pages import MISSING, NARROW, WIDE, barriers
from millm_site.tests.browser.test_playground import answered, answers, choose, playground, send, text
from millm_site.tests.browser.test_playground_intensity import dial

__all__ = ["playground"]  # the fixture


def add(page: Page, name: str, option: str) -> None:
    page.get_by_role("button", name="Add a pane").click()
    expect(page.get_by_role("combobox", name=f"Steering of the {name} pane")).to_be_focused()
    page.keyboard.press("Escape")
    choose(page, name, option)


def test_three_panes_answer_one_message_and_are_kept(playground: Page) -> None:
    choose(playground, "second", "ocean")
    dial(playground, "second").press("End")
    add(playground, "third", "winter")
    expect(dial(playground, "third")).to_have_value("2")  # the new pane begins as the last one
    send(playground)
    answered(playground, 3)
    for pane, steering in (("first", "unsteered"), ("second", "steered by ocean"), ("third", "steered by winter")):
        expect(answers(playground, pane)).to_contain_text(steering)
    assert len({text(playground, pane) for pane in ("first", "second", "third")}) == 3
    expect(playground.locator(".playground-unseen", has_text="3 of 3 answers finished.")).to_be_attached()
    said = text(playground, "third")
    playground.reload()
    expect(answers(playground, "third")).to_contain_text("steered by winter")
    assert text(playground, "third") == said


def test_a_closed_pane_is_brought_back_with_its_answers(playground: Page) -> None:
    choose(playground, "second", "ocean")
    add(playground, "third", "winter")
    send(playground)
    answered(playground, 3)
    playground.get_by_role("button", name="Close the second pane").click()
    expect(playground.get_by_role("log")).to_have_count(2)
    expect(answers(playground, "second")).to_contain_text("steered by winter")
    send(playground, "Go on.")
    answered(playground, 4)
    expect(playground.get_by_role("button", name="Undo")).to_have_count(0)  # the conversation went on
    playground.get_by_role("button", name="Close the first pane").click()
    expect(answers(playground, "first")).to_contain_text("steered by winter")
    expect(playground.get_by_role("button", name="Close the first pane")).to_be_hidden()
    playground.get_by_role("button", name="Undo").click()
    expect(playground.get_by_role("log")).to_have_count(2)
    expect(answers(playground, "first").locator(".playground-text")).to_have_count(2)
    expect(answers(playground, "first")).to_contain_text("unsteered")


def test_a_pane_that_was_added_later_is_asked_alone(playground: Page) -> None:
    send(playground)
    answered(playground, 2)
    add(playground, "third", "ocean")
    expect(answers(playground, "third")).to_contain_text("Not asked in this pane")
    answers(playground, "third").get_by_role("button", name="Ask").click()
    answered(playground, 3)
    expect(answers(playground, "third")).to_contain_text("steered by ocean")


@pytest.mark.parametrize("width", [1280, 390])
def test_up_to_six_panes_fit_the_window(playground: Page, width: int) -> None:
    playground.set_viewport_size({"width": width, "height": 900})
    add_button = playground.get_by_role("button", name="Add a pane")
    for _ in range(4):
        add_button.click()
        playground.keyboard.press("Escape")
    expect(playground.get_by_role("log")).to_have_count(6)
    expect(add_button).to_be_disabled()
    assert playground.evaluate("document.documentElement.scrollWidth") <= width
    send(playground)
    answered(playground, 6)


def problems(page: Page) -> Iterator[str]:
    """What keeps people out of the page as it is now, in light and dark, wide and narrow."""
    for viewport, dark in ((WIDE, False), (NARROW, False), (WIDE, True)):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        yield from page.evaluate(MISSING)
        yield from barriers(page)


def test_the_page_is_sound_with_all_its_parts_open(playground: Page) -> None:
    choose(playground, "second", "ocean")
    add(playground, "third", "Own strengths")
    third = playground.get_by_role("region", name="Third pane")
    third.get_by_role("combobox", name="Add a feature").fill("7: 2")
    third.get_by_role("combobox", name="Add a feature").press("Enter")
    third.get_by_role("button", name="Save as profile").click()
    playground.get_by_text("Settings", exact=True).click()
    playground.get_by_label("Answers", exact=True).fill("2")
    send(playground)
    answered(playground, 3)
    playground.get_by_label("Show").select_option("differences of words")
    expect(answers(playground, "second").locator("ins").first).to_be_visible()
    assert list(problems(playground)) == []

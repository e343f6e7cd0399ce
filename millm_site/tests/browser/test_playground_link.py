"""A link that restores the playground's panes, settings and message; the server sees nothing of them."""

from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_playground import QUESTION, answered, choose, playground, send
from millm_site.tests.browser.test_playground_intensity import dial
from millm_site.tests.browser.test_playground_panes import add

__all__ = ["playground"]  # the fixture


def copied_link(page: Page) -> str:
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_text("The link is copied.")).to_be_attached()
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_link_restores_panes_settings_and_message_but_no_answers(playground: Page) -> None:
    choose(playground, "second", "ocean")
    dial(playground, "second").fill("0.5")
    add(playground, "third", "Own strengths")
    third = playground.get_by_role("region", name="Third pane")
    third.get_by_role("combobox", name="Add a feature").fill("7: 2")
    third.get_by_role("combobox", name="Add a feature").press("Enter")
    playground.get_by_text("Settings", exact=True).click()
    playground.get_by_label("Seed", exact=True).fill("77")
    send(playground)
    answered(playground, 3)
    link = copied_link(playground)
    address, fragment = link.split("#")
    assert address.endswith("/admin/playground/")
    assert fragment.startswith("state=")

    playground.evaluate("localStorage.clear()")
    playground.goto("/healthz")
    playground.evaluate("localStorage.clear()")
    sent: list[str] = []
    playground.on("request", lambda request: sent.append(request.url))
    playground.goto(link)
    expect(playground.get_by_role("textbox", name="Message")).to_have_value(QUESTION)
    assert playground.url == address
    assert all(fragment[6:40] not in url.split("#")[0] for url in sent)
    expect(playground.get_by_role("combobox", name="Steering of the second pane")).to_have_value("ocean")
    expect(dial(playground, "second")).to_have_value("0.5")
    expect(third.get_by_role("textbox", name="Strength of feature 7")).to_have_value("2")
    expect(playground.get_by_label("Seed", exact=True)).to_have_value("77")
    expect(playground.locator(".playground-message")).to_have_count(0)
    choose(playground, "second", "winter")
    playground.reload()
    expect(playground.get_by_role("combobox", name="Steering of the second pane")).to_have_value("winter")


def test_a_link_that_is_opened_in_a_conversation_can_be_undone(playground: Page) -> None:
    link = copied_link(playground)
    send(playground)
    answered(playground, 2)
    playground.evaluate("link => location.assign(link)", link)
    expect(playground.get_by_text("The panes, the settings and the message of the link are restored.")).to_be_visible()
    expect(playground.locator(".playground-message")).to_have_count(0)
    playground.get_by_role("button", name="Undo").click()
    expect(playground.locator(".playground-message")).to_have_count(2)
    expect(playground.get_by_text("tokens/s")).to_have_count(2)


def test_a_broken_or_too_long_link_is_told(playground: Page) -> None:
    link = copied_link(playground)
    told = playground.get_by_role("alert").filter(has_text="The link was not followed")
    for broken, reason in (
        (link[:-8], "expected a whole link as “Copy link” makes it"),
        (link.split("=")[0] + "=%%%", "expected a whole link"),
        (link + "A" * 9000, "characters, expected at most 8,000"),
    ):
        playground.evaluate("link => location.assign(link)", broken)
        expect(told).to_contain_text(reason)
        told.get_by_role("button", name="Close").click()
        expect(told).to_be_hidden()
    expect(playground.get_by_role("log")).to_have_count(2)
    letters = "Array.from({ length: 20000 }, () => String.fromCharCode(97 + 26 * Math.random())).join('')"
    playground.get_by_role("textbox", name="Message").fill(playground.evaluate(letters))
    playground.get_by_role("button", name="Copy link").click()
    expect(playground.get_by_role("alert").filter(has_text="The link would be too long")).to_contain_text(
        "Download the conversation instead."
    )

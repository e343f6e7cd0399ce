"""The playground in the browser: one conversation, answered by two steerings.

The helpers are for the tests of its parts too: test_playground_*.py.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.test_load import running, wait_for
from millm_site.tests.browser.conftest import Watched
from profiles.models import Profile

QUESTION = "Tell me something."
# What a shell, Python, JSON or HTML could read as something else; lines like those that end a here-document.
ODD = """It's "odd": $(id) `id` $HOME !! \\n \\ 'quoted' λ 🐙 {x} <img src=x>\nJSON\nEOF\n\tTell me something."""
ENDS = {"1": -100, "2": -100, "3": -100}  # the tokens that end an answer of the demo


@pytest.fixture
def playground(page: Page) -> Page:
    page.goto("/admin/playground/")
    return page


def answers(page: Page, name: str) -> Locator:
    return page.get_by_role("log", name=f"Answers of the {name} pane")


def send(page: Page, text: str = QUESTION) -> None:
    message = page.get_by_role("textbox", name="Message")
    message.fill(text)
    message.press("Enter")


def choose(page: Page, name: str, option: str) -> None:
    """By keyboard, as a search."""
    steering = page.get_by_role("combobox", name=f"Steering of the {name} pane")
    steering.click()
    steering.press_sequentially(option[:4])
    offered = page.get_by_role("listbox", name="Steerings").get_by_role("option")
    expect(offered).to_have_text([re.compile(option)])
    steering.press("Enter")
    expect(steering).to_have_value(option)


def answered(page: Page, count: int, name: str = "") -> None:
    """Wait for so many answers, in one pane or in both."""
    within = answers(page, name) if name else page
    expect(within.get_by_text("tokens/s")).to_have_count(count)
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def text(page: Page, name: str) -> str:
    """The last answer in a pane."""
    return str(answers(page, name).locator(".playground-text").last.text_content())


def go_on(route: Route) -> None:
    """A chat request whose answer ends at its limit only."""
    body: Any = route.request.post_data_json
    route.continue_(post_data=json.dumps(body | {"logit_bias": ENDS, "max_tokens": 3000}))


def forgive(watched: Watched, status: int) -> None:
    """The browser's own lines about an answer of this status, which the test provoked."""
    watched.errors = [error for error in watched.errors if f"status of {status}" not in error]


def test_two_steerings_answer_side_by_side(playground: Page) -> None:
    choose(playground, "second", "ocean")
    send(playground)
    answered(playground, 2)
    expect(answers(playground, "first").get_by_text("unsteered")).to_be_visible()
    expect(answers(playground, "second").get_by_text("steered by ocean")).to_be_visible()
    assert text(playground, "first") != text(playground, "second")
    choose(playground, "second", "Unsteered")
    playground.get_by_role("button", name="Regenerate", exact=True).click()
    expect(answers(playground, "second").get_by_text("unsteered")).to_be_visible()  # told by the answer, not the choice
    answered(playground, 2)
    assert text(playground, "first") == text(playground, "second")
    expect(playground.get_by_role("textbox", name="Message")).to_be_focused()
    Profile.objects.get(name="winter").activate()
    choose(playground, "first", "Live steering")
    playground.get_by_role("button", name="Regenerate with a new seed").click()
    expect(answers(playground, "first").get_by_text("steered by winter")).to_be_visible()


def test_a_question_is_offered_until_the_conversation_begins(playground: Page) -> None:
    question = playground.get_by_role("button", name="What makes you happy?")
    message = playground.get_by_role("textbox", name="Message")
    message.fill("Something of mine")
    expect(question).to_be_hidden()
    message.fill("")
    question.click()
    answered(playground, 2)
    expect(playground.get_by_role("article").first).to_contain_text("What makes you happy?")
    expect(question).to_be_hidden()
    expect(message).to_have_value("")


def test_the_conversation_survives_a_reload_and_a_corrupt_storage(playground: Page) -> None:
    playground.get_by_text("Settings").click()
    playground.get_by_label("Seed", exact=True).fill("77")
    playground.get_by_label("System prompt").fill("Be brief.")
    playground.get_by_role("button", name="Close the second pane").click()
    send(playground)
    answered(playground, 1)
    playground.get_by_role("textbox", name="Message").fill("A draft")
    said = text(playground, "first")
    playground.reload()
    expect(playground.get_by_role("textbox", name="Message")).to_have_value("A draft")
    expect(playground.get_by_label("Seed", exact=True)).to_have_value("77")
    expect(playground.get_by_label("System prompt")).to_have_value("Be brief.")
    expect(answers(playground, "second")).to_be_hidden()
    assert text(playground, "first") == said
    playground.set_viewport_size({"width": 390, "height": 844})
    assert playground.evaluate("document.documentElement.scrollWidth") <= 390
    [key] = playground.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('millm.playground'))")
    kept = json.loads(playground.evaluate("(key) => localStorage.getItem(key)", key))
    broken = kept | {"settings": {"seed": "x"}, "panes": [7], "turns": [{"text": 5}, {"text": "?", "answers": [{}]}]}
    for stored in ("{", "[]", "null", json.dumps(kept | {"version": 0}), json.dumps(broken)):
        elsewhere = playground.context.new_page()  # of the page itself, leaving it would keep its own
        elsewhere.goto("/healthz")
        elsewhere.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, stored])
        elsewhere.close()
        playground.reload()
        expect(playground.get_by_role("textbox", name="Message")).to_be_visible()
        assert playground.locator(".playground-text").count() == 0
    expect(answers(playground, "first").get_by_text("Not asked in this pane")).to_be_visible()
    expect(playground.get_by_label("Seed", exact=True)).to_have_value("1")


def test_a_conversation_of_the_version_before_is_read(playground: Page) -> None:
    """Version 1 had two panes, and one answer of each to a message."""
    answer = {"state": "done", "text": "Old words.", "system": "", "request": {"model": "demo", "seed": 5}}
    told = answer | {"steering": {"profile": "", "steering": "none"}, "finish": "stop", "error": ""}
    kept = {
        "version": 1,
        "settings": {"seed": 5},
        "choices": [{"kind": "none", "name": ""}, {"kind": "profile", "name": "winter"}],
        "intensities": [1, 0.5],
        "compares": True,
        "draft": "A draft",
        "turns": [{"id": 0, "text": "Hello?", "cut": False, "answers": [told, None]}],
    }
    [key] = playground.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('millm.playground'))")
    playground.goto("/healthz")
    playground.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, json.dumps(kept)])
    playground.goto("/admin/playground/")
    expect(answers(playground, "first")).to_contain_text("Old words.")
    expect(answers(playground, "first")).to_contain_text("unsteered")
    expect(answers(playground, "second")).to_contain_text("Not asked in this pane")
    expect(playground.get_by_role("combobox", name="Steering of the second pane")).to_have_value("winter")
    expect(playground.get_by_role("slider", name="Intensity of the second pane")).to_have_value("0.5")
    expect(playground.get_by_role("textbox", name="Message")).to_have_value("A draft")


def test_a_long_answer_is_stopped_and_its_message_edited(playground: Page, server: Server) -> None:
    wait_for(lambda: running() == 0, 10)
    playground.route("**/admin/chat/completions", go_on)
    send(playground)
    expect(answers(playground, "first")).to_have_attribute("aria-busy", "true")
    expect(answers(playground, "first").locator(".playground-text")).to_contain_text(". ")
    wait_for(lambda: running() == 2, 10)
    playground.keyboard.press("Escape")
    expect(answers(playground, "first").get_by_text(re.compile("^stopped"))).to_be_visible()
    expect(answers(playground, "second").get_by_text(re.compile("^stopped"))).to_be_visible()
    expect(answers(playground, "first")).to_have_attribute("aria-busy", "false")
    assert wait_for(lambda: running() == 0, 10) < 5
    playground.unroute("**/admin/chat/completions")
    playground.get_by_role("button", name="Edit the last message").click()
    message = playground.get_by_role("textbox", name="Message")
    expect(message).to_have_value(QUESTION)
    message.press("Shift+Enter")
    message.press_sequentially("About the sea.")
    message.press("Enter")
    answered(playground, 2)
    expect(playground.locator(".playground-message")).to_have_text([f"{QUESTION}\nAbout the sea."] * 2)
    playground.get_by_role("button", name="Clear the conversation").click()
    expect(playground.locator(".playground-message")).to_have_count(0)
    playground.get_by_role("button", name="Undo").click()
    expect(playground.locator(".playground-message")).to_have_count(2)


@pytest.mark.parametrize("kind", ["curl", "Python"])
def test_a_copied_request_gets_the_same_answer(playground: Page, server: Server, api_key: str, kind: str) -> None:
    if kind == "curl" and shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    choose(playground, "second", "ocean")
    playground.get_by_text("Settings").click()
    playground.get_by_label("System prompt").fill('It\'s "you".\n')
    playground.get_by_label("Stop sequences").fill('\\n\n"never"')
    playground.get_by_label("Frequency penalty").fill("0.1")
    for count, said in enumerate([QUESTION, ODD], start=1):
        send(playground, said)
        answered(playground, 2 * count)
    expect(playground.locator(".playground-message").last).to_have_text(ODD)
    for pane in ("first", "second"):
        answers(playground, pane).get_by_role("button", name=f"Copy as {kind}").last.click()
        expect(playground.get_by_text(f"Copied: {kind}.")).to_be_attached()
        copied = playground.evaluate("navigator.clipboard.readText()")
        playground.evaluate("navigator.clipboard.writeText('')")
        command = ["bash", "-c", copied] if kind == "curl" else [sys.executable, "-c", copied]
        env = os.environ | {"MILLM_API_KEY": api_key}
        ran = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60)
        got = json.loads(ran.stdout)["choices"][0]["message"]["content"] if kind == "curl" else ran.stdout[:-1]
        assert got == text(playground, pane)


def test_a_deleted_profile_is_told_in_plain_words_and_another_answers(playground: Page, watched: Watched) -> None:
    choose(playground, "second", "ocean")
    Profile.objects.get(name="ocean").delete()
    send(playground)
    told = answers(playground, "second").get_by_role("alert")
    expect(told).to_contain_text("The profile “ocean” no longer exists")
    answered(playground, 1, "first")
    choose(playground, "second", "forest")
    told.get_by_role("button", name="Retry").click()
    answered(playground, 1, "second")
    expect(told).to_be_hidden()
    expect(answers(playground, "second").get_by_text("steered by forest")).to_be_visible()
    forgive(watched, 404)


def test_without_a_model_the_page_opens_and_says_so(page: Page, watched: Watched, demo: LanguageModel) -> None:
    demo.unload()
    page.goto("/admin/playground/")
    told = page.get_by_text("No model is loaded")
    expect(told).to_be_visible()
    expect(page.get_by_role("main").or_(page.locator("#main")).get_by_role("link", name="Models")).to_be_visible()
    send(page)
    for pane in ("first", "second"):
        expect(answers(page, pane).get_by_role("alert")).to_contain_text("No model is being served.")
    demo.make_current()
    expect(told).to_be_hidden()  # by itself
    page.get_by_role("button", name="Regenerate", exact=True).click()
    answered(page, 2)
    forgive(watched, 503)


def test_a_link_chooses_the_steerings_once(page: Page) -> None:
    page.goto("/admin/playground/?left=unsteered&profile=music")
    expect(page.get_by_role("combobox", name="Steering of the second pane")).to_have_value("music")
    assert page.url.endswith("/admin/playground/")
    choose(page, "second", "winter")
    page.goto("/admin/playground/?left=live&right=unsteered")
    expect(page.get_by_role("combobox", name="Steering of the first pane")).to_have_value("Live steering")
    expect(page.get_by_role("combobox", name="Steering of the second pane")).to_have_value("Unsteered")


def test_a_profile_is_tried_in_the_playground(page: Page) -> None:
    page.goto("/admin/profiles/profile/")
    page.get_by_role("button", name="Actions: ocean").click()
    page.get_by_role("link", name="Try in the playground").click()
    expect(page.get_by_role("combobox", name="Steering of the second pane")).to_have_value("ocean")


def test_a_wrong_setting_is_named_at_its_field_and_nothing_is_sent(playground: Page) -> None:
    playground.get_by_text("Settings", exact=True).click()
    temperature = playground.get_by_label("Temperature")
    temperature.fill("9")
    temperature.blur()
    expect(playground.locator("#id_temperature_wrong")).to_contain_text("2")
    expect(playground.locator("summary")).to_contain_text("not valid")
    send(playground)
    expect(temperature).to_be_focused()
    expect(answers(playground, "first").get_by_text(QUESTION)).to_have_count(0)
    temperature.fill("1")
    send(playground)
    answered(playground, 2)
    expect(playground.locator("#id_temperature_wrong")).to_be_hidden()
    expect(playground.locator(".playground-unseen")).to_have_text("2 of 2 answers finished.")

"""The probabilities of tokens in the playground: by shade, and with their alternatives at the pointer or the focus."""

import ast
import math
from typing import Any

from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_pages import barriers
from millm_site.tests.browser.test_playground import QUESTION, answered, answers, playground, send, text

__all__ = ["playground"]  # the fixture


def shown(page: Page) -> Any:
    return page.evaluate("[...document.querySelectorAll('.playground-token')].map((one) => one.token)")


def test_tokens_have_their_probability_and_alternatives(playground: Page) -> None:
    playground.get_by_role("button", name="Close the second pane").click()
    send(playground)
    answered(playground, 1)
    said = text(playground, "first")
    playground.get_by_label("Show").select_option("probabilities of tokens")
    expect(answers(playground, "first")).to_contain_text("This answer has no probabilities: regenerate it")
    playground.get_by_role("button", name="Regenerate", exact=True).click()
    tokens = answers(playground, "first").locator(".playground-token")
    expect(tokens.nth(3)).to_be_visible()
    answered(playground, 1)
    assert text(playground, "first").removesuffix("<|end|>").strip() == said.strip()  # the end has a probability too
    for _, own, alternatives in shown(playground):
        assert own <= 0
        assert len(alternatives) == 5
        assert alternatives == sorted(alternatives, key=lambda one: -one[1])
    tip = playground.get_by_role("tooltip")
    expect(tip).to_be_hidden()
    tokens.nth(1).hover()
    _, own, _ = shown(playground)[1]
    expect(tip).to_contain_text(f"{100 * math.exp(own):.1f} %")
    expect(tip.get_by_role("listitem")).to_have_count(5)
    expect(tokens.nth(1)).to_have_attribute("aria-describedby", "token-tip")
    playground.get_by_role("textbox", name="Message").hover()
    expect(tip).to_be_hidden()


def test_the_tokens_are_reached_by_keyboard(playground: Page) -> None:
    playground.get_by_label("Show").select_option("probabilities of tokens")
    send(playground)
    answered(playground, 2)
    tokens = answers(playground, "first").locator(".playground-token")
    tip = playground.get_by_role("tooltip")
    answers(playground, "first").focus()
    playground.keyboard.press("Tab")
    expect(tokens.first).to_be_focused()
    expect(tip).to_be_visible()
    playground.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    playground.keyboard.press("End")
    expect(tokens.last).to_be_focused()
    playground.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    for dark in (False, True):
        playground.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        assert list(barriers(playground)) == []


def test_several_answers_have_their_own_probabilities(playground: Page) -> None:
    playground.get_by_role("button", name="Close the second pane").click()
    playground.get_by_text("Settings", exact=True).click()
    playground.get_by_label("Answers", exact=True).fill("2")
    playground.get_by_label("Show").select_option("probabilities of tokens")
    send(playground, QUESTION)
    answered(playground, 1)
    groups = answers(playground, "first").get_by_role("group", name="Tokens")
    expect(groups).to_have_count(2)
    first, second = groups.all_text_contents()
    assert first
    assert second
    assert first != second


def test_a_request_with_probabilities_is_python(playground: Page) -> None:
    body = {"model": "demo", "messages": [], "logprobs": True, "top_logprobs": 5}
    steering = {"features": {"7": {"mode": "ablate"}}, "special_tokens": False, "when": None, "also": [1, {}]}
    written = playground.evaluate("body => millm.asPython(body, 'http://x')", body | {"steering": steering})
    call = next(node for node in ast.walk(ast.parse(written)) if isinstance(node, ast.Call) and len(node.keywords) > 2)
    given = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    assert given == body | {"extra_body": {"steering": steering}}

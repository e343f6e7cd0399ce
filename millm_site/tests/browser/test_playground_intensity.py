"""The intensity of each pane of the playground: it is sent with the request, kept, and named beside the answer."""

import json

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from millm_site.tests.browser.test_playground import answered, answers, choose, send, text


@pytest.fixture
def playground(page: Page) -> Page:
    page.goto("/admin/playground/")
    choose(page, "first", "ocean")
    choose(page, "second", "ocean")
    return page


def dial(page: Page, name: str) -> Locator:
    return page.get_by_role("slider", name=f"Intensity of the {name} pane")


def test_each_pane_has_an_intensity(playground: Page) -> None:
    sent: list[Request] = []
    playground.on("request", lambda request: sent.append(request) if "chat/completions" in request.url else None)
    dial(playground, "second").press("Home")
    expect(dial(playground, "second")).to_have_value("0")
    send(playground)
    answered(playground, 2)
    bodies = [json.loads(request.post_data or "") for request in sent]
    assert {body.get("intensity") for body in bodies} == {0, None}
    assert text(playground, "first") != text(playground, "second")
    expect(answers(playground, "second")).to_contain_text("at intensity 0")
    expect(answers(playground, "first")).not_to_contain_text("at intensity")
    dial(playground, "first").press("End")
    playground.reload()
    expect(dial(playground, "first")).to_have_value("2")
    expect(dial(playground, "second")).to_have_value("0")


def test_an_unsteered_pane_has_no_intensity(playground: Page) -> None:
    choose(playground, "second", "Unsteered")
    expect(dial(playground, "second")).to_be_hidden()
    expect(dial(playground, "first")).to_be_visible()

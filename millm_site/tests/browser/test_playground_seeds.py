"""Several seeds at once in the playground: one chosen answer goes on, and each is that of its seed alone."""

import json
import os
import subprocess
import sys

from playwright.sync_api import Page, Request, expect

from inference.tests.conftest import Server
from millm_site.tests.browser.test_playground import answered, answers, choose, playground, send

__all__ = ["playground"]  # the fixture


def several(page: Page, count: int, seed: int) -> None:
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Answers", exact=True).fill(str(count))
    page.get_by_label("Seed", exact=True).fill(str(seed))


def texts(page: Page, pane: str) -> list[str]:
    return answers(page, pane).locator(".playground-text").all_text_contents()


def test_each_pane_answers_by_several_seeds_and_the_chosen_answer_goes_on(playground: Page) -> None:
    sent: list[Request] = []
    playground.on("request", lambda request: sent.append(request) if "chat/completions" in request.url else None)
    choose(playground, "second", "ocean")
    several(playground, 3, 40)
    expect(playground.locator("summary").first).to_contain_text("seeds 40 to 42")
    send(playground)
    answered(playground, 2)
    assert [json.loads(one.post_data or "")["n"] for one in sent] == [3, 3]
    said = texts(playground, "second")
    assert len({*said}) == 3
    radios = answers(playground, "second").get_by_role("radio")
    expect(radios).to_have_count(3)
    expect(radios.first).to_be_checked()
    answers(playground, "second").get_by_role("radio", name="Seed 42").check()
    playground.get_by_label("Answers", exact=True).fill("1")
    send(playground, "Go on.")
    answered(playground, 4)
    bodies = [json.loads(one.post_data or "") for one in sent[2:]]
    [ocean] = [body for body in bodies if body["model"] == "demo:ocean"]
    assert ocean["messages"][1] == {"role": "assistant", "content": said[2]}
    expect(radios.first).to_be_disabled()  # later answers go on from the choice


def test_a_seed_alone_gives_the_same_text(playground: Page, server: Server, api_key: str) -> None:
    playground.get_by_role("button", name="Close the second pane").click()
    several(playground, 3, 7)
    send(playground)
    answered(playground, 1)
    said = texts(playground, "first")
    answers(playground, "first").get_by_role("radio", name="Seed 9").check()
    answers(playground, "first").get_by_role("button", name="Copy as Python").click()
    expect(playground.get_by_text("Copied: Python.")).to_be_attached()
    copied = playground.evaluate("navigator.clipboard.readText()")
    assert "seed=9," in copied
    ran = subprocess.run(
        [sys.executable, "-c", copied],
        env=os.environ | {"MILLM_API_KEY": api_key},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout[:-1] == said[2]
    playground.get_by_label("Answers", exact=True).fill("1")
    playground.get_by_label("Seed", exact=True).fill("8")
    playground.get_by_role("button", name="Regenerate", exact=True).click()
    answered(playground, 1)
    assert texts(playground, "first") == [said[1]]

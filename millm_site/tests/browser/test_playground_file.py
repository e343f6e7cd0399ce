"""A conversation of the playground as a file: downloaded, imported, refused where it is broken."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_playground import QUESTION, answered, answers, choose, playground, send, text
from millm_site.tests.browser.test_playground_panes import add
from steering.models import SAE

__all__ = ["playground"]  # the fixture


def download(page: Page, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def give(page: Page, path: Path) -> None:
    page.get_by_label("File of a conversation").set_input_files(path)


def told(page: Page) -> Any:
    return page.get_by_role("alert").filter(has_text="was not imported")


def test_a_downloaded_conversation_is_restored(playground: Page, tmp_path: Path) -> None:
    choose(playground, "second", "ocean")
    add(playground, "third", "Own strengths")
    third = playground.get_by_role("region", name="Third pane")
    third.get_by_role("combobox", name="Add a feature").fill("7: clamp to 2")
    third.get_by_role("combobox", name="Add a feature").press("Enter")
    playground.get_by_text("Settings", exact=True).click()
    playground.get_by_label("Seed", exact=True).fill("77")
    playground.get_by_label("System prompt").fill("Be brief.")
    playground.get_by_label("Show").select_option("probabilities of tokens")
    send(playground)
    answered(playground, 3)
    said = [text(playground, pane) for pane in ("first", "second", "third")]
    path = download(playground, tmp_path)
    file = json.loads(path.read_text())
    sae = SAE.objects.get()
    assert (file["format"], file["version"]) == ("millm.playground", 1)
    assert file["model"]["name"] == "demo"
    assert file["sae"] == {"id": sae.pk, "fingerprint": sae.fingerprint}
    assert [pane["steering"] for pane in file["panes"]] == [
        {"kind": "none"},
        {"kind": "profile", "name": "ocean"},
        {"kind": "own", "features": {"7": {"mode": "clamp", "value": 2}}},
    ]
    [turn] = file["turns"]
    unsteered, ocean, _ = turn["answers"]
    assert turn["text"] == QUESTION
    assert (unsteered["steering"], unsteered["fingerprint"]) == ("none", file["model"]["fingerprint"])
    assert (ocean["profile"], ocean["system"]) == ("ocean", "Be brief.")
    assert ocean["profiles"].startswith('profile;name="ocean"')
    assert (ocean["request"]["seed"], ocean["samples"][0]["seed"]) == (77, 77)
    assert ocean["samples"][0]["tokens"]
    playground.evaluate("localStorage.clear()")
    playground.goto("/healthz")
    playground.evaluate("localStorage.clear()")
    playground.goto("/admin/playground/")
    give(playground, path)
    expect(playground.get_by_text(f"The conversation of {path.name} is restored.", exact=True)).to_be_visible()
    assert [text(playground, pane) for pane in ("first", "second", "third")] == said
    expect(third.get_by_role("combobox", name="Mode of feature 7")).to_have_value("clamp")
    expect(playground.locator(".playground-token").first).to_be_visible()
    expect(playground.get_by_label("Seed", exact=True)).to_have_value("77")
    playground.locator(".playground-notices").get_by_role("button", name="Undo").click()
    expect(playground.get_by_role("log")).to_have_count(2)
    expect(playground.locator(".playground-message")).to_have_count(0)


def test_another_model_and_sae_than_the_files_are_told(playground: Page, tmp_path: Path) -> None:
    path = download(playground, tmp_path)
    file = json.loads(path.read_text())
    file["model"]["fingerprint"] = "e" * 64
    path.write_text(json.dumps(file | {"sae": {"id": "other-sae", "fingerprint": "f" * 64}}))
    give(playground, path)
    notice = playground.get_by_text("is restored.")
    expect(notice).to_contain_text("The model is another one: demo (eeeeeeeeeeee) in the file,")
    expect(notice).to_contain_text("The SAE is another one: other-sae (ffffffffffff) in the file, demo-sae")
    expect(answers(playground, "first")).to_be_visible()


BROKEN: list[tuple[Any, str]] = [
    ("{", "the file: got"),
    ({"format": "other"}, 'format: got "other", expected "millm.playground"'),
    ({"version": 2}, "version: got 2, expected 1"),
    ({"panes": []}, "panes: got [], expected a list of 1 to 6 panes"),
    ({"panes": [{"steering": {"kind": "magic"}}]}, 'panes.0.steering.kind: got "magic", expected one of live'),
    (
        {"panes": [{"steering": {"kind": "own", "features": {"7": "much"}}}]},
        'panes.0.steering.features.7: got "much", expected a number',
    ),
    ({"panes": [{"steering": {"kind": "none"}, "intensity": 3}]}, "panes.0.intensity: got 3, expected a number"),
    ({"settings": {"seed": "x"}}, 'settings.seed: got "x", expected a number'),
    ({"turns": [{"text": 5, "answers": []}]}, "turns.0.text: got 5, expected a text"),
    ({"turns": [{"text": "?", "answers": [{}]}]}, "turns.0.answers.0.request: got nothing, expected an object"),
    (
        {"turns": [{"text": "?", "answers": [{"request": {"model": "demo", "x=exit()": 1}}]}]},
        'turns.0.answers.0.request: got "x=exit()", expected names of fields',
    ),
    ({"model": "demo"}, 'model: got "demo", expected an object'),
]


def test_a_broken_file_is_refused_by_name_and_changes_nothing(playground: Page, tmp_path: Path) -> None:
    playground.get_by_role("textbox", name="Message").fill("A draft")
    path = download(playground, tmp_path)
    file = json.loads(path.read_text())
    for change, reason in BROKEN:
        path.write_text(change if isinstance(change, str) else json.dumps(file | change))
        give(playground, path)
        expect(told(playground)).to_contain_text(reason)
        told(playground).get_by_role("button", name="Close").click()
        expect(told(playground)).to_be_hidden()
    expect(playground.get_by_role("textbox", name="Message")).to_have_value("A draft")
    expect(playground.get_by_role("log")).to_have_count(2)

"""Strengths of a pane's own in the playground: they steer its requests, and are saved as a profile."""

import json

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from millm_site.tests.browser.conftest import Watched
from millm_site.tests.browser.test_playground import answered, answers, choose, forgive, playground, send, text
from millm_site.tests.browser.test_playground_intensity import dial
from profiles.models import Profile
from steering.labels.models import FeatureLabel

__all__ = ["playground"]  # the fixture


@pytest.fixture
def pane(playground: Page) -> Locator:
    """The second pane, with strengths of its own."""
    choose(playground, "second", "Own strengths")
    return playground.get_by_role("region", name="Second pane")


def add(pane: Locator, query: str) -> None:
    box = pane.get_by_role("combobox", name="Add a feature")
    box.fill(query)
    box.press("Enter")


def test_own_strengths_steer_as_the_profile_with_them_does(playground: Page, pane: Locator) -> None:
    sent: list[Request] = []
    playground.on("request", lambda request: sent.append(request) if "chat/completions" in request.url else None)
    ocean = Profile.objects.get(name="ocean")
    choose(playground, "first", "ocean")
    pane.get_by_role("button", name="Paste a list").click()
    pane.get_by_role("textbox", name="One feature per line").fill(json.dumps(ocean.strengths))
    pane.get_by_role("button", name="Add to the table").click()
    send(playground)
    answered(playground, 2)
    bodies = [json.loads(request.post_data or "") for request in sent]
    own = {str(index): strength for index, strength in ocean.strengths.items()}
    assert [body.get("steering") for body in bodies if body["model"] == "demo"] == [{"features": own}]
    assert text(playground, "first") == text(playground, "second")
    expect(answers(playground, "second")).to_contain_text("steered by own strengths")
    expect(answers(playground, "second")).to_contain_text("same answer as the first pane")


def test_a_copy_of_a_profile_is_changed_in_the_pane(playground: Page) -> None:
    ocean = Profile.objects.get(name="ocean")
    ocean.strengths = {7: 2.0, 9: {"mode": "ablate"}}
    ocean.more = {"intensity": 0.5}
    ocean.save()
    winter = Profile.objects.get(name="winter")
    winter.more = {"positions": "answer"}
    winter.save()
    choose(playground, "first", "ocean")
    choose(playground, "second", "ocean")
    pane = playground.get_by_role("region", name="Second pane")
    pane.get_by_role("button", name="Edit a copy").click()
    expect(pane.get_by_role("textbox", name="Strength of feature 7")).to_have_value("2")
    expect(pane.get_by_role("combobox", name="Mode of feature 9")).to_have_value("ablate")
    expect(dial(playground, "second")).to_have_value("0.5")
    expect(playground.get_by_role("combobox", name="Steering of the second pane")).to_have_value("Own strengths")
    send(playground)
    answered(playground, 2)
    assert text(playground, "first") == text(playground, "second")
    choose(playground, "first", "winter")
    playground.get_by_role("region", name="First pane").get_by_role("button", name="Edit a copy").click()
    expect(playground.get_by_role("alert").filter(has_text="more than a pane can hold")).to_contain_text("positions")
    expect(playground.get_by_role("combobox", name="Steering of the first pane")).to_have_value("winter")


def test_features_are_found_by_their_label_and_set_by_slider_and_box(playground: Page, pane: Locator) -> None:
    label = FeatureLabel.objects.order_by("index").first()
    assert label is not None
    box = pane.get_by_role("combobox", name="Add a feature")
    box.press_sequentially(label.label[:12])
    expect(pane.get_by_role("listbox", name="Features found").get_by_role("option").first).to_be_visible()
    box.fill(str(label.index))
    box.press("Enter")
    expect(pane.locator(f"[data-index='{label.index}']")).to_contain_text(label.label)
    strength = pane.get_by_role("textbox", name=f"Strength of feature {label.index}")
    pane.get_by_role("slider", name=f"Feature {label.index}").press("End")
    expect(strength).to_have_value("10")
    strength.fill("4.5")
    strength.press("Enter")
    expect(pane.locator("summary")).to_contain_text("1 feature")
    playground.reload()
    expect(strength).to_have_value("4.5")
    expect(pane.locator(f"[data-index='{label.index}']")).to_contain_text(label.label)
    pane.get_by_role("button", name=f"Remove feature {label.index}").click()
    expect(pane.locator("summary")).to_contain_text("no features")


def test_a_wrong_strength_is_told_and_nothing_is_sent(playground: Page, pane: Locator) -> None:
    add(pane, "7: 2")
    strength = pane.get_by_role("textbox", name="Strength of feature 7")
    strength.fill("much")
    strength.press("Enter")
    send(playground)
    told = playground.get_by_role("alert").filter(has_text="Nothing was sent")
    expect(told).to_contain_text("correct the strengths of the second pane")
    expect(playground.locator(".playground-message")).to_have_count(0)
    strength.fill("3")
    strength.press("Enter")
    playground.get_by_role("button", name="Send").click()
    answered(playground, 2)
    expect(told).to_be_hidden()


def test_own_strengths_are_saved_as_a_profile_which_then_steers(
    playground: Page, pane: Locator, watched: Watched
) -> None:
    expect(pane.get_by_role("button", name="Save as profile")).to_be_disabled()
    add(pane, "7: 2")
    add(pane, "12: ablate")
    dial(playground, "second").fill("0.5")
    pane.get_by_role("button", name="Save as profile").click()
    name = pane.get_by_role("textbox", name="Name of the profile")
    expect(name).to_be_focused()
    name.press("Enter")
    expect(pane.get_by_role("alert").filter(has_text="Type a name.")).to_be_visible()
    name.fill("ocean")
    name.press("Enter")
    expect(pane.get_by_role("alert").filter(has_text="ocean")).to_be_visible()  # the name is taken
    forgive(watched, 409)
    name.fill("tried out")
    name.press("Enter")
    expect(playground.get_by_role("combobox", name="Steering of the second pane")).to_have_value("tried out")
    expect(playground.get_by_text("The strengths are saved as the profile “tried out”")).to_be_visible()
    expect(dial(playground, "second")).to_have_value("1")
    made = Profile.objects.get(name="tried out")
    assert (made.model_id, made.sae_id, made.more["intensity"]) == ("demo", "demo-sae", 0.5)
    assert {*made.strengths} == {7, 12}
    send(playground)
    answered(playground, 2)
    expect(answers(playground, "second")).to_contain_text("steered by tried out")

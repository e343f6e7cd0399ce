"""Explore in the browser: from a text, or from sentences, to a profile that steers."""

import random
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from inference.demo.tiny.grammar import HELD_OUT_PROMPTS, TOPICS, sentence
from inference.demo.tiny.measure import shares
from inference.tests.conftest import Server
from millm_site.tests.browser.conftest import Watched
from millm_site.tests.browser.test_pages import barriers
from profiles.current import detach_sae
from profiles.models import Profile
from steering.models import SAE, Feature

TEXT = "The whale dives in the sea. A fox howls in the woods."
STEERED = 0.6
"""The share of answers on the topic, at least."""


@pytest.fixture
def explore(page: Page) -> Page:
    page.goto("/admin/explore/")
    return page


def press(page: Page | Locator, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def token(page: Page, text: str) -> Locator:
    return page.get_by_role("toolbar", name="Tokens").get_by_role("button", name=re.compile(f"^{text}, "))


def heat(page: Page, text: str) -> float:
    return float(token(page, text).evaluate("element => element.style.getPropertyValue('--heat')"))


def box(page: Page, index: int) -> Locator:
    return page.get_by_role("textbox", name=f"Strength of feature {index}", exact=True)


def type_text(page: Page, text: str = TEXT) -> None:
    page.get_by_role("textbox", name="Text to read").fill(text)


def read(page: Page, text: str = TEXT) -> None:
    type_text(page, text)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("tokens were read")).to_be_visible()


def read_under(page: Page, profile: str) -> None:
    """Choose a profile for the next readings, by keyboard."""
    steering = page.get_by_role("combobox", name="Steering of the reading")
    steering.click()
    steering.press_sequentially(profile[:4])
    expect(page.get_by_role("listbox", name="Steerings").get_by_role("option")).to_have_text([re.compile(profile)])
    steering.press("Enter")
    expect(steering).to_have_value(profile)


def sides(topic: str, count: int = 10) -> tuple[str, str]:
    """Two boxes of sentences: of the topic, and of the others."""
    rng, others = random.Random(0), sorted(TOPICS.keys() - {topic})
    wanted = [sentence(topic, rng) for _ in range(count)]
    return "\n".join(wanted), "\n".join(sentence(rng.choice(others), rng) for _ in range(count))


def fill_sides(page: Page, topic: str) -> None:
    for label, text in zip(("of the kind that you want", "of another kind"), sides(topic), strict=True):
        page.get_by_label(f"Sentences {label}").fill(text)


def compare(page: Page, topic: str) -> Locator:
    """The rows of the features of a topic."""
    fill_sides(page, topic)
    press(page, "Compare")
    rows = page.get_by_role("table", name="For the first side").locator("[data-feature]")
    expect(rows.first).to_be_visible()
    return rows


def save_as(page: Page, name: str) -> Profile:
    """Save the form of a new profile, to which the page leads."""
    page.wait_for_url("**/profiles/profile/add/**")
    page.get_by_label("Name").fill(name)
    press(page, "Save")
    page.wait_for_url("**/profiles/profile/")
    return Profile.objects.get(name=name)


def on_topic(server: Server, key: str, profile: str, topic: str) -> float:
    """The share of answers under a profile that are on the topic, to prompts that name none."""
    client, said = server.openai(key), []
    for prompt in HELD_OUT_PROMPTS:
        messages: Any = [{"role": "user", "content": prompt}]
        answer = client.chat.completions.create(model=f"demo:{profile}", messages=messages, n=8, seed=1, max_tokens=80)
        said += [choice.message.content or "" for choice in answer.choices]
    client.close()
    return shares(said, topic).on_topic


# --- from a text to a profile ---


def test_a_text_shows_where_a_feature_fires_and_leads_to_a_profile_that_steers(
    explore: Page, server: Server, api_key: str
) -> None:
    read(explore)
    expect(token(explore, "dives")).to_have_attribute("aria-pressed", "true")  # where the strongest feature is largest
    assert heat(explore, "dives") == 1
    assert heat(explore, "fox") == 0
    token(explore, "howls").click()
    of_token = explore.get_by_role("region", name="Token")
    expect(of_token.get_by_role("listitem").first).to_be_visible()
    of_token.get_by_title("Colour the text by this feature").first.click()
    expect(token(explore, "howls")).to_have_attribute("aria-label", re.compile(r"howls, [1-9]"))
    assert heat(explore, "howls") > heat(explore, "dives")

    with explore.expect_popup() as opened:
        of_token.get_by_role("link", name="Page of feature").first.click()
    expect(opened.value).to_have_title(re.compile(r"^Feature \d+ of demo-sae"))

    token(explore, "dives").click()
    for index in sorted(Profile.objects.get(name="ocean").strengths):
        of_token.get_by_role("button", name=f"Collect feature {index}", exact=True).click()
        expect(box(explore, index)).to_have_value(re.compile(r"^\d"))
        assert 5 < float(box(explore, index).input_value()) < 50
        box(explore, index).fill("10")
        box(explore, index).press("Enter")
    expect(of_token.get_by_role("button", name="Collect feature 79", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    press(explore, "New profile of these")
    made = save_as(explore, "of a text")
    assert made.strengths == {79: 10.0, 286: 10.0}
    assert (made.model_id, made.sae_id, made.layer) == ("demo", "demo-sae", SAE.objects.get().layer)
    assert on_topic(server, api_key, "of a text", "ocean") >= STEERED


@pytest.mark.parametrize("topic", ["space", "kitchen"])
def test_sentences_lead_to_a_profile_that_steers_a_chat_to_their_topic(
    explore: Page, server: Server, api_key: str, topic: str
) -> None:
    explore.get_by_role("tab", name="Contrast").click()
    rows = compare(explore, topic)
    found = [int(rows.nth(place).get_attribute("data-feature") or "") for place in range(5)]
    assert set(found) & set(Profile.objects.get(name=topic).strengths)
    for place in range(2):
        rows.nth(place).get_by_role("button").click()
        expect(box(explore, found[place])).to_be_visible()
    press(explore, "New profile of these")
    assert list(save_as(explore, "of sentences").strengths) == sorted(found[:2])
    assert on_topic(server, api_key, "of sentences", topic) >= STEERED


def test_what_speaks_for_the_other_side_is_collected_with_a_negative_strength(explore: Page) -> None:
    explore.get_by_role("tab", name="Contrast").click()
    compare(explore, "ocean")
    expect(explore.get_by_text(re.compile("separates them with an AUC of (0.9|1.0)"))).to_be_visible()
    other = explore.get_by_role("table", name="For the other side").locator("[data-feature]")
    index = int(other.first.get_attribute("data-feature") or "")
    other.first.get_by_role("button").click()
    assert float(box(explore, index).input_value()) < 0
    other.first.get_by_role("button").click()
    expect(box(explore, index)).to_have_count(0)
    assert other.count() == 8
    explore.get_by_role("button", name="Show all 20").last.click()
    assert other.count() == 20
    explore.get_by_label("Only features that fire on at most").fill("2")
    stale = explore.get_by_role("tabpanel", name="Contrast").get_by_text("Out of date: your input changed since.")
    expect(stale).to_be_visible()
    press(explore, "Compare")
    expect(stale).to_be_hidden()
    shown = explore.get_by_role("table", name="For the first side").locator("[data-title=Tokens]")
    assert all(float(text.strip(" %")) <= 2 for text in shown.all_inner_texts())


def test_the_measured_maximum_suggests_the_strength(explore: Page) -> None:
    Feature.objects.update_or_create(sae_id="demo-sae", index=286, defaults={"maximum": 500.0})
    read(explore)
    explore.get_by_role("button", name="Collect feature 286", exact=True).first.click()
    expect(box(explore, 286)).to_have_value("250")


def test_a_contrast_suggests_half_of_the_largest_activation_of_each_side(explore: Page) -> None:
    Feature.objects.filter(sae_id="demo-sae").delete()
    Feature.objects.bulk_create(Feature(sae_id="demo-sae", index=index, maximum=40.0) for index in range(512))
    explore.get_by_role("tab", name="Contrast").click()
    wanted = compare(explore, "ocean").first
    other = explore.get_by_role("table", name="For the other side").locator("[data-feature]").first
    for row, strength in ((wanted, "20"), (other, "-20")):
        row.get_by_role("button").click()
        expect(box(explore, int(row.get_attribute("data-feature") or ""))).to_have_value(strength)


# --- chats and steerings ---


def test_a_pasted_chat_is_read_under_a_profile_before_and_after_its_steering(explore: Page) -> None:
    explore.evaluate("navigator.clipboard.writeText('User: Tell me something.\\nAssistant: A fox howls.\\n')")
    explore.get_by_role("textbox", name="Text to read").focus()
    explore.keyboard.press("Control+v")
    expect(explore.get_by_role("textbox", name="Turn 2")).to_have_value("A fox howls.")
    expect(explore.get_by_role("combobox", name="Role of turn 2")).to_have_value("assistant")
    press(explore, "Read")
    expect(explore.get_by_text("Read unsteered.")).to_be_visible()
    special = token(explore, re.escape("<|user|>"))
    expect(special).to_have_attribute("aria-label", "<|user|>, special token")
    special.click()
    expect(explore.get_by_text("A special token: its features are left out.")).to_be_visible()

    read_under(explore, "ocean")
    press(explore, "Read")
    expect(explore.get_by_text("Read under the profile ocean, after its steering is added.")).to_be_visible()
    explore.get_by_label("Colour by feature").fill("286")
    explore.get_by_label("Colour by feature").press("Enter")
    expect(token(explore, "fox")).to_have_attribute("aria-label", re.compile(r"fox, [1-9]"))
    after = token(explore, "fox").get_attribute("aria-label")
    explore.get_by_label("Read", exact=True).select_option("before")
    press(explore, "Read")
    expect(explore.get_by_text("before its steering is added.")).to_be_visible()
    expect(token(explore, "fox")).not_to_have_attribute("aria-label", after or "")

    press(explore, "Add a turn")
    expect(explore.get_by_role("textbox", name="Turn 3")).to_be_focused()
    press(explore, "Remove turn 3")
    expect(explore.get_by_role("textbox", name="Turn 3")).to_have_count(0)
    expect(explore.get_by_role("button", name="Add a turn")).to_be_focused()


# --- keyboard, storage, phone ---


def test_tabs_and_tokens_are_reached_and_moved_by_keyboard(explore: Page) -> None:
    read(explore)
    token(explore, "dives").focus()
    for key, text in (("ArrowRight", "in"), ("ArrowLeft", "dives"), ("Home", "The"), ("End", ".*")):
        explore.keyboard.press(key)
        focused = explore.evaluate("document.activeElement.getAttribute('aria-label')")
        assert re.match(text, focused), (key, focused)
        assert explore.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    explore.keyboard.press("Tab")
    assert explore.evaluate("document.activeElement.closest('[role=toolbar]')") is None  # one stop for all tokens
    explore.get_by_role("tab", name="Text").focus()
    explore.keyboard.press("ArrowRight")
    expect(explore.get_by_role("tab", name="Contrast")).to_be_focused()
    expect(explore.get_by_role("tabpanel", name="Contrast")).to_be_visible()
    explore.reload()
    expect(explore.get_by_role("tabpanel", name="Contrast")).to_be_visible()


def test_the_list_is_kept_for_each_sae_and_the_inputs_too(explore: Page) -> None:
    read(explore)
    explore.get_by_role("button", name="Collect feature 286", exact=True).first.click()
    expect(box(explore, 286)).to_be_visible()
    explore.reload()
    expect(box(explore, 286)).to_be_visible()
    expect(explore.locator('.explore-outcome [data-index="286"]')).to_contain_text("drifts")
    expect(explore.get_by_role("textbox", name="Text to read")).to_have_value(TEXT)
    [key] = explore.evaluate("Object.keys(sessionStorage).filter((key) => key.startsWith('millm.explore.'))")
    assert key.endswith(".demo-sae")
    for stored in ("{", "[]", "null", '{"strengths": 7}', '{"strengths": {"x": "y"}, "labels": []}'):
        explore.evaluate("([key, value]) => sessionStorage.setItem(key, value)", [key, stored])
        explore.reload()
        expect(explore.get_by_role("textbox", name="Text to read")).to_be_visible()
        expect(box(explore, 286)).to_have_count(0)


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (390, False), (390, True)])
def test_results_keep_nobody_out_and_fit_a_phone(explore: Page, width: int, dark: bool) -> None:
    explore.set_viewport_size({"width": width, "height": 844})
    explore.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
    read(explore)
    explore.get_by_role("button", name="Collect feature 286", exact=True).first.click()
    expect(box(explore, 286)).to_be_visible()
    found = [f"text: {barrier}" for barrier in barriers(explore)]
    assert explore.evaluate("document.documentElement.scrollWidth") <= width
    explore.get_by_role("tab", name="Contrast").click()
    compare(explore, "winter")
    found += [f"contrast: {barrier}" for barrier in barriers(explore)]
    assert explore.evaluate("document.documentElement.scrollWidth") <= width
    assert found == []


# --- what goes wrong ---


def test_without_an_sae_the_page_says_so_and_goes_on_when_one_is_there(explore: Page) -> None:
    explore.evaluate("sessionStorage.clear()")
    detach_sae()
    explore.reload()
    banner = explore.locator(".playground-banner")
    expect(banner).to_contain_text("No SAE is attached, so there are no features to read yet.")
    expect(banner.get_by_role("link", name="SAEs")).to_be_visible()
    type_text(explore)
    press(explore, "Read")
    expect(explore.get_by_role("alert").get_by_text("No SAE is attached")).to_be_visible()
    SAE.objects.update(is_attached=True)
    expect(banner).to_be_hidden()
    press(explore, "Read")
    expect(explore.get_by_text("tokens were read")).to_be_visible()


def test_refusals_are_shown_in_words_where_they_happen(explore: Page, watched: Watched) -> None:
    press(explore, "Read")
    expect(explore.get_by_text("Type or paste a text.")).to_be_visible()
    type_text(explore, "whale " * 4000)
    expect(explore.get_by_text("The text has 24,000 characters, expected at most 20,000")).to_be_visible()
    expect(explore.get_by_role("button", name="Read", exact=True)).to_be_disabled()
    read_under(explore, "ocean")
    Profile.objects.get(name="ocean").delete()
    type_text(explore)
    press(explore, "Read")
    expect(explore.get_by_role("alert").get_by_text("There is no profile 'ocean'.")).to_be_visible()
    watched.errors = [error for error in watched.errors if "status of 404" not in error]

    explore.get_by_role("tab", name="Contrast").click()
    press(explore, "Compare")
    expect(explore.get_by_text("Type sentences of the kind that you want, one per line.")).to_be_visible()
    explore.get_by_label("Sentences of the kind that you want").fill("whale\n" * 1100)
    explore.get_by_label("Sentences of another kind").fill("fox")
    press(explore, "Compare")
    expect(explore.get_by_role("alert").get_by_text("Got 1,100 texts, expected at most 1,024")).to_be_visible()
    watched.errors = [error for error in watched.errors if "status of 400" not in error]


@pytest.mark.parametrize("tab", ["text", "contrast"])
def test_a_request_in_progress_is_stopped(explore: Page, tab: str) -> None:
    explore.route(re.compile("/api/(activations|features/contrast)"), lambda route: None)  # which is not answered
    explore.get_by_role("tab", name=tab).click()
    panel = explore.get_by_role("tabpanel", name=tab)
    if tab == "text":
        type_text(explore)
    else:
        fill_sides(explore, "ocean")
    press(panel, "Read" if tab == "text" else "Compare")
    expect(panel.get_by_text("Reading …")).to_be_visible()
    with explore.expect_event("requestfailed"):
        press(panel, "Stop")
    expect(panel.get_by_text("Stopped.")).to_be_visible()
    expect(panel.get_by_role("button", name="Stop")).to_be_disabled()


# --- on the form of a profile ---


def test_features_are_found_beside_the_form_of_a_profile(page: Page, server: Server, api_key: str) -> None:
    page.goto("/admin/profiles/profile/add/")
    press(page, "Find features")
    dialog = page.get_by_role("dialog", name="Find features")
    rows = compare(page, "music")
    found = [int(rows.nth(place).get_attribute("data-feature") or "") for place in range(2)]
    for place in range(2):
        rows.nth(place).get_by_role("button").click()
        expect(rows.nth(place).get_by_role("button")).to_have_attribute("aria-pressed", "true")
    assert list(barriers(page)) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Find features")).to_be_focused()
    for index in found:
        expect(box(page, index)).to_be_visible()
    assert list(save_as(page, "found").strengths) == sorted(found)
    assert on_topic(server, api_key, "found", "music") >= STEERED


def test_a_form_of_an_unknown_sae_finds_no_features_and_says_why(page: Page) -> None:
    page.goto("/admin/profiles/profile/add/")
    page.get_by_label("SAE", exact=True).fill("elsewhere")
    expect(page.get_by_text("It is for the SAE elsewhere").first).to_be_visible()
    press(page, "Find features")
    fill_sides(page, "music")
    press(page, "Compare")
    expect(page.get_by_text("The SAE of this profile is not known here")).to_be_visible()

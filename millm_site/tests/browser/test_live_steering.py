"""The live steering in the browser: what is moved steers the next request, and what others change appears."""

import json
from typing import Any

import openai
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from playwright.sync_api import Locator, Page, expect

from inference.tests.conftest import Server
from millm_site.tests.browser.conftest import PASSWORD, Watched, log_in
from profiles.current import detach_sae
from profiles.models import Profile
from steering.models import SAE, SteeringState

PATH = "/admin/steering/steeringstate/"


def live() -> SteeringState:
    return SteeringState.objects.load()


def opened(page: Page, profile: str = "ocean") -> Page:
    """The page, with `profile` active."""
    Profile.objects.get(name=profile).activate()
    page.goto(PATH)
    expect(page.get_by_role("slider").first).to_be_visible()
    return page


def strength(page: Page, index: int) -> Locator:
    return page.get_by_label(f"Strength of feature {index}", exact=True)


def told(page: Page) -> Locator:
    """What was done last."""
    return page.get_by_role("region", name="Current steering").get_by_role("status")


def applied(page: Page) -> None:
    expect(told(page)).to_contain_text("Applied, version")
    assert told(page).text_content() == f"Applied, version {live().version}."


def asked(client: openai.OpenAI) -> tuple[str, str, str]:
    """An answer of /v1, with its headers about the steering."""
    answer = client.chat.completions.with_raw_response.create(
        model="demo", messages=[{"role": "user", "content": "Tell me something."}], seed=1, max_tokens=30
    )
    text = str(answer.parse().choices[0].message.content)
    return text, answer.headers["X-miLLM-Steering"], answer.headers["X-miLLM-Profile"]


def test_what_is_moved_steers_the_next_request(page: Page, server: Server, api_key: str) -> None:
    opened(page)
    client = server.openai(api_key)
    by_profile = asked(client)
    assert by_profile[2] == "ocean"
    expect(page.get_by_text("unchanged since activation")).to_be_visible()

    page.get_by_role("slider", name="Feature 79").focus()
    page.keyboard.press("Home")
    expect(page.get_by_text("changed by hand since")).to_be_visible()
    applied(page)
    assert live().strengths[79] == -20
    by_hand = asked(client)
    assert by_hand[0] != by_profile[0]
    assert by_hand[1] == live().spec(SAE.objects.attached()).fingerprint  # type: ignore[union-attr]
    assert by_hand[2] == ""

    page.get_by_role("switch", name="Live steering").click()
    expect(page.get_by_text("Requests are answered unsteered")).to_be_visible()
    assert asked(client)[1] == "none"
    page.get_by_role("switch", name="Live steering").click()
    expect(page.get_by_text("Requests are steered by 2 features")).to_be_visible()
    assert asked(client) == by_hand
    page.get_by_role("button", name="Try", exact=True).click()
    for answer in ("Without", "With these strengths"):
        expect(page.get_by_role("article", name=answer, exact=True)).to_contain_text("tokens")


def test_values_are_kept_as_a_profile_taken_by_the_active_one_and_reverted(page: Page, watched: Watched) -> None:
    opened(page)
    strength(page, 79).fill("9.5")
    strength(page, 79).press("Enter")
    applied(page)
    page.get_by_label("Save as a new profile").fill("ocean")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("a profile 'ocean' already exists")).to_be_visible()
    assert all("409" in error for error in watched.errors)
    watched.errors.clear()
    page.get_by_label("Save as a new profile").fill("wild ocean")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(told(page)).to_contain_text("Saved as profile wild ocean")
    expect(page.get_by_role("link", name="wild ocean")).to_be_visible()
    expect(page.get_by_role("button", name="Make it the active profile")).to_be_visible()
    assert Profile.objects.get(name="wild ocean").strengths == live().strengths

    page.get_by_role("button", name="Update ocean").click()
    expect(page.get_by_text("unchanged since activation")).to_be_visible()
    assert Profile.objects.get(name="ocean").strengths[79] == 9.5

    page.get_by_role("button", name="Remove feature 286").click()
    expect(page.get_by_role("button", name="Revert to ocean")).to_be_visible()
    assert live().strengths == {79: 9.5}
    page.get_by_role("button", name="Revert to ocean").click()
    expect(strength(page, 286)).to_have_value("11.87")
    page.get_by_label("Current steering").get_by_role("button", name="Undo").click()
    expect(strength(page, 286)).to_have_count(0)
    page.get_by_role("button", name="Revert to ocean").click()
    expect(strength(page, 286)).to_have_value("11.87")

    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("slider")).to_have_count(0)
    assert (live().enabled, live().strengths) == (False, {})


def test_what_others_change_appears_and_takes_nothing_out_of_the_hand(page: Page, server: Server, api_key: str) -> None:
    opened(page)
    slider = page.get_by_role("slider", name="Feature 79")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    held = strength(page, 79).input_value()
    live().set_features({79: 1.0, 5: 2.0})
    expect(told(page)).to_contain_text("Changed by")
    assert strength(page, 79).input_value() == held
    expect(strength(page, 5)).to_have_count(0)
    page.mouse.up()
    expect(strength(page, 5)).to_have_value("2")  # beside what the hand set
    applied(page)
    assert live().strengths == {5: 2.0, 79: float(held), 286: 11.87}

    client = server.openai(api_key)
    message: Any = {"role": "user", "content": "Hello"}
    client.chat.completions.create(model="demo", messages=[message], max_tokens=1, extra_body={"profile": "space"})
    expect(page.get_by_role("link", name="space")).to_be_visible()
    for index, value in Profile.objects.get(name="space").strengths.items():
        expect(strength(page, index)).to_have_value(f"{value:g}")
    expect(strength(page, 79)).to_have_count(0)


def test_a_refused_change_goes_back_and_says_why(page: Page, watched: Watched) -> None:
    opened(page)
    before = page.request.get(f"{PATH}state/").body()
    page.route("**/state/", lambda route: route.fulfill(body=before, content_type="application/json"))
    with page.expect_response("**/state/"):  # the last one that is not `before`, if it was asked for already
        pass
    SAE.objects.update(d_sae=80)  # of which the page does not hear before it tries
    strength(page, 286).fill("3")
    strength(page, 286).press("Enter")
    expect(page.get_by_role("alert").get_by_text("feature 286 is out of range")).to_be_visible()
    expect(strength(page, 286)).to_have_value("11.87")
    assert live().strengths[286] == 11.87
    assert all("400" in error for error in watched.errors)
    watched.errors.clear()


def test_a_mistake_in_a_row_is_not_applied_until_it_is_corrected(page: Page) -> None:
    opened(page)
    before = live().version
    strength(page, 79).fill("many")
    strength(page, 79).press("Tab")
    expect(page.get_by_text("Correct the marked row: until then no change is applied.")).to_be_visible()
    assert live().version == before
    strength(page, 79).fill("2.5")
    strength(page, 79).press("Tab")
    applied(page)
    assert live().strengths == {79: 2.5, 286: 11.87}


def test_a_number_that_is_refused_leaves_its_slider_where_the_steering_is(page: Page) -> None:
    opened(page)
    slider = page.get_by_role("slider", name="Feature 286")
    before, bar = slider.input_value(), slider.get_attribute("style")
    assert float(before) > 10
    for refused in ("many", "5000", ""):
        strength(page, 286).fill(refused)
        strength(page, 286).press("Tab")
        expect(strength(page, 286)).to_have_attribute("aria-invalid", "true")
        expect(slider).to_have_value(before)
        expect(slider).to_have_attribute("style", bar or "")
        expect(slider).to_have_attribute("aria-valuetext", "11.87")
        assert live().strengths[286] == 11.87
    slider.focus()
    page.keyboard.press("Home")
    applied(page)
    assert live().strengths[286] < 0


def test_where_nothing_is_live_there_is_nothing_to_save(page: Page, watched: Watched) -> None:
    opened(page)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("slider")).to_have_count(0)
    count = Profile.objects.count()
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    page.goto("/admin/profiles/profile/")
    page.get_by_role("button", name="Save live steering").click()
    expect(page.get_by_text("there is no live steering to save")).to_be_visible()
    assert Profile.objects.count() == count


def test_without_an_sae_it_leads_to_the_saes(page: Page) -> None:
    opened(page)
    detach_sae()
    expect(page.get_by_role("slider")).to_have_count(0)
    expect(page.get_by_text("No SAE is attached, so there are no features")).to_be_visible()
    expect(page.get_by_role("link", name="Attach an SAE")).to_have_attribute("href", "/admin/steering/sae/")


def test_a_viewer_sees_what_steers_and_has_no_controls(anonymous: Page) -> None:
    viewer = get_user_model().objects.create_user("viewer", password=PASSWORD, is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_steeringstate"))
    Profile.objects.get(name="ocean").activate()
    log_in(anonymous, "viewer")
    anonymous.goto(PATH)
    expect(anonymous.get_by_text("11.87")).to_be_visible()
    expect(anonymous.get_by_role("slider")).to_have_count(0)
    expect(anonymous.get_by_role("switch")).to_have_count(0)
    live().set_features({286: 4.25})
    expect(anonymous.get_by_text("4.25", exact=True)).to_be_visible()
    assert json.loads(anonymous.locator("#features-options").text_content() or "")["read_only"] is True

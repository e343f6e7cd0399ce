"""Explore in the browser: from sentences to a vector, to an answer that it steers, to a profile."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from playwright.sync_api import Locator, Page, expect

from inference.tests.conftest import Server
from millm_site.tests.browser.conftest import PASSWORD, Watched, log_in
from millm_site.tests.browser.test_explore import STEERED, fill_sides, on_topic, press, save_as, sides
from millm_site.tests.browser.test_pages import barriers
from profiles.current import detach_sae
from steering.models import SAE

NORM = re.compile(r"^[\d.]+, \d+ % of the residual stream’s [\d.]+$")


@pytest.fixture
def contrast(page: Page) -> Page:
    page.goto("/admin/explore/#contrast")
    return page


def making(page: Page) -> Locator:
    return page.get_by_role("region", name="Make a vector of these")


def made(page: Page, topic: str = "ocean", **fields: str) -> Locator:
    """The form after a vector is made of ten sentences a side."""
    fill_sides(page, topic)
    form = making(page)
    for label, text in fields.items():
        form.get_by_label(label, exact=True).fill(text)
    press(form, "Make vector")
    expect(form.get_by_text("is made.")).to_be_visible()
    return form


def figure(form: Locator, name: str) -> Locator:
    return form.locator("dl > div", has=form.page.get_by_text(name, exact=True)).locator("dd")


def attach(form: Locator) -> None:
    press(form, "Also attach")
    expect(form.get_by_label("Strength")).to_be_focused()
    expect(form.get_by_label("Strength")).to_have_value("1")


def steered(page: Page) -> str:
    """The answer under the strengths, once it is complete."""
    answer = page.get_by_role("article", name="With these strengths")
    expect(answer).to_have_attribute("data-state", "done")
    return answer.locator(".tryit-text").inner_text()


def words_of(topic: str) -> set[str]:
    """Words that only sentences of the topic have."""
    wanted, others = (set(re.findall(r"\w+", text.lower())) for text in sides(topic, 200))
    return wanted - others


def test_sentences_lead_to_a_vector_that_steers_an_answer_and_to_a_profile(
    contrast: Page, server: Server, api_key: str
) -> None:
    form = making(contrast)
    expect(form.get_by_label("Layer")).to_have_value(str(SAE.objects.get().layer))
    made(contrast, Label="the sea", Id="sea")
    expect(form.get_by_role("link", name="sea")).to_have_attribute("href", re.compile("/steering/sae/sea/change/$"))
    expect(figure(form, "Norm")).to_have_text(NORM)
    expect(figure(form, "AUC")).to_have_text(re.compile(r"^(0\.9\d|1\.00)$"))
    expect(form.get_by_role("button", name="Try it")).to_have_count(0)

    attach(form)
    assert SAE.objects.get(pk="sea").is_also_attached
    assert SAE.objects.get(pk="demo-sae").is_attached
    press(form, "Try it")
    assert words_of("ocean") & set(re.findall(r"\w+", steered(contrast).lower()))
    collected = contrast.get_by_role("region", name="Collected features")
    expect(collected.get_by_text("Try it also adds the vector of sea, strength 1.")).to_be_visible()

    press(contrast, "New profile of these")
    profile = save_as(contrast, "sea")
    assert (profile.strengths, profile.more) == ({}, {"also": [{"sae": "sea", "features": {"0": 1.0}}]})
    assert on_topic(server, api_key, "sea", "ocean") >= STEERED


def test_the_strength_is_changed_and_the_vector_left_out(contrast: Page) -> None:
    form = made(contrast, Id="sea")
    attach(form)
    strength, collected = form.get_by_label("Strength"), contrast.get_by_role("region", name="Collected features")
    strength.fill("much")
    strength.press("Enter")
    expect(form.get_by_text("Got “much”, expected a number; 1 is the vector as made.")).to_be_visible()
    strength.fill("0.5")
    strength.press("Enter")
    steered(contrast)
    expect(collected.get_by_text("strength 0.5.")).to_be_visible()
    press(collected, "Leave it out")
    expect(collected.get_by_text("strength 0.5.")).to_have_count(0)
    expect(contrast.get_by_text("No strengths yet: add a feature.")).to_be_visible()


def test_refusals_stand_at_their_fields_in_words(contrast: Page, watched: Watched) -> None:
    form = making(contrast)

    def refused(label: str, message: str) -> None:
        press(form, "Make vector")
        field = contrast.get_by_label(label, exact=True)
        expect(field).to_have_accessible_description(re.compile(re.escape(message)))
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_be_focused()

    refused("Sentences of the kind that you want", "Type sentences of the kind that you want, one per line.")
    fill_sides(contrast, "ocean")
    form.get_by_label("Layer").fill("99")
    refused("Layer", "Got 99, expected a layer from 0 to ")
    form.get_by_label("Layer").fill("1")
    form.get_by_label("Id").fill("demo-sae")
    refused("Id", "An SAE 'demo-sae' already exists.")
    form.get_by_label("Id").fill("a b")
    refused("Id", "Expected letters, digits, - and _ only.")
    form.get_by_label("Id").fill("")
    contrast.get_by_label("Sentences of another kind").fill("A fox howls.")
    form.get_by_label("Method").select_option("pca")
    refused("Sentences of another kind", "Got 1 sentences for 10, expected pairs, line by line")
    form.get_by_label("Method").select_option("difference")
    contrast.get_by_label("Sentences of another kind").fill(
        contrast.get_by_label("Sentences of the kind that you want").input_value()
    )
    refused("Sentences of another kind", "These texts differ in nothing from the positive ones: give other texts.")
    watched.errors = [error for error in watched.errors if not re.search("status of (400|409)", error)]
    assert SAE.objects.count() == 1


def test_without_an_sae_a_vector_of_the_middle_layer_is_made_and_steers(contrast: Page) -> None:
    detach_sae()
    contrast.reload()
    form = made(contrast, Label="the sea")
    expect(form.get_by_role("link", name="the-sea")).to_be_visible()
    assert SAE.objects.get(pk="the-sea").layer == 2
    attach(form)
    press(form, "Try it")
    assert words_of("ocean") & set(re.findall(r"\w+", steered(contrast).lower()))


def test_making_is_cancelled(contrast: Page) -> None:
    contrast.route("**/api/vectors", lambda route: None)  # which is not answered
    fill_sides(contrast, "ocean")
    form = making(contrast)
    press(form, "Make vector")
    expect(form.get_by_text("Reading …")).to_be_visible()
    with contrast.expect_event("requestfailed"):
        press(form, "Cancel")
    expect(form.get_by_text("Stopped.")).to_be_visible()
    expect(form.get_by_role("button", name="Make vector")).to_be_enabled()


@pytest.mark.parametrize("codenames", [(), ("add_sae",)])
def test_users_see_what_they_may(
    anonymous: Page, server: Server, django_user_model: Any, codenames: tuple[str, ...]
) -> None:
    user: User = django_user_model.objects.create_user("reader", password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_featurelabel", *codenames]))
    log_in(anonymous, "reader")
    anonymous.goto("/admin/explore/#contrast")
    expect(anonymous.get_by_label("Sentences of another kind")).to_be_visible()
    if not codenames:
        expect(making(anonymous)).to_have_count(0)
        return
    form = made(anonymous, Id="sea")
    expect(form.get_by_text("sea", exact=True)).to_be_visible()
    expect(form.get_by_role("link")).to_have_count(0)
    expect(form.get_by_role("button", name="Also attach")).to_have_count(0)


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (390, False), (390, True)])
def test_the_form_keeps_nobody_out_and_fits_a_phone(contrast: Page, width: int, dark: bool) -> None:
    contrast.set_viewport_size({"width": width, "height": 844})
    contrast.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
    press(making(contrast), "Make vector")
    found = [f"refused: {barrier}" for barrier in barriers(contrast)]
    form = made(contrast, Id="sea")
    found += [f"made: {barrier}" for barrier in barriers(contrast)]
    attach(form)
    contrast.keyboard.press("Enter")
    steered(contrast)
    found += [f"tried: {barrier}" for barrier in barriers(contrast)]
    assert contrast.evaluate("document.documentElement.scrollWidth") <= width
    assert found == []

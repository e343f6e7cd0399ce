"""The form of a profile in the browser: the table of features, "try it", what is refused and what is kept."""

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from playwright.sync_api import Dialog, Locator, Page, expect

from millm_site.tests.browser.conftest import PASSWORD, log_in
from profiles.models import Profile
from steering.models import SAE, SteeringState

LIST = "/admin/profiles/profile/"


def url(name: str) -> str:
    return f"{LIST}{quote(Profile.objects.get(name=name).pk)}/change/"


def slider(page: Page, index: int) -> Locator:
    return page.get_by_role("slider", name=f"Feature {index}", exact=True)


def box(page: Page, index: int) -> Locator:
    return page.get_by_role("textbox", name=f"Strength of feature {index}", exact=True)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def answer(page: Page, title: str) -> Locator:
    return page.get_by_role("article", name=title).locator(".tryit-text")


def expect_answered(page: Page) -> None:
    """Both answers are there, whole."""
    for title in ("Without", "With these strengths"):
        expect(page.get_by_role("article", name=title)).to_have_attribute("data-state", "done")


def test_a_profile_is_made_by_sliders_boxes_words_and_a_list_and_is_tried(page: Page) -> None:
    page.goto(f"{LIST}add/")
    page.get_by_label("Name").fill("sea and snow")
    add = page.get_by_role("combobox", name="Add a feature")
    add.fill("79")
    add.press("Enter")
    expect(slider(page, 79)).to_have_value("1")
    expect(page.locator('[data-index="79"]')).to_contain_text("drifts, surfaces, splashes")
    slider(page, 79).press("End")
    expect(box(page, 79)).to_have_value("10")
    add.fill("shivers slid")
    page.get_by_role("option", name="shivers, slides, skates").click()
    box(page, 14).fill("-3.5")
    box(page, 14).press("ArrowUp")
    expect(box(page, 14)).to_have_value("-3.3")
    expect(slider(page, 14)).to_have_attribute("aria-valuetext", "-3.3")

    press(page, "Paste a list")
    lines = page.get_by_label("One feature per line")
    lines.fill("286: 11.87\n24 = icy\n286 2")
    press(page, "Add to the table")
    expect(page.get_by_text("line 2: got “24 = icy”")).to_be_visible()
    expect(page.get_by_text("line 3: feature 286 is given twice, first in line 1")).to_be_visible()
    expect(slider(page, 286)).to_have_count(0)
    lines.fill("286: 11.87 — drifts\n\n14\t2")
    press(page, "Add to the table")
    expect(page.get_by_text("1 added, 1 changed.")).to_be_visible()

    press(page, "Try")
    expect_answered(page)
    expect(answer(page, "With these strengths")).not_to_have_text(answer(page, "Without").inner_text())
    press(page, "Save")
    page.wait_for_url(f"**{LIST}")
    assert Profile.objects.get(name="sea and snow").strengths == {14: 2.0, 79: 10.0, 286: 11.87}


def test_a_list_that_is_closed_while_its_search_runs_stays_closed(page: Page) -> None:
    page.goto(f"{LIST}add/")
    add = page.get_by_role("combobox", name="Add a feature")
    page.route("**/labels?search=*", lambda route: None)  # which is not answered
    with page.expect_request("**/labels?search=*"):
        add.fill("shivers")
    with page.expect_event("requestfailed"):
        add.press("Escape")
    page.unroute("**/labels?search=*")
    add.press_sequentially(" slid")
    expect(page.get_by_role("option").first).to_be_visible()
    add.press("Escape")
    expect(add).to_have_attribute("aria-expanded", "false")


def test_mistakes_are_told_beside_their_row_and_steps_are_undone(page: Page) -> None:
    page.goto(url("ocean"))
    saved = box(page, 79).input_value()
    box(page, 79).fill("much")
    box(page, 79).press("Enter")
    expect(page.locator('[data-index="79"]')).to_contain_text("“much” is not a number")
    expect(page.get_by_role("button", name="Try", exact=True)).to_be_disabled()
    press(page, "Save")
    expect(page.get_by_text("Please correct the errors below.")).to_be_visible()
    expect(box(page, 79)).to_have_value("much")
    expect(page.locator('[data-index="79"]')).to_contain_text("got 'much', expected a finite number")

    slider(page, 79).press("Home")
    expect(page.locator('[data-index="79"]')).not_to_contain_text("finite number")
    press(page, "Remove feature 79")
    expect(slider(page, 79)).to_have_count(0)
    slider(page, 286).press("ArrowRight")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect(box(page, 79)).to_have_value("-20")
    page.keyboard.press("Control+z")
    expect(box(page, 79)).to_have_value("much")
    page.keyboard.press("Control+z")  # a step of before the refusal
    expect(box(page, 79)).to_have_value(saved)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    press(page, "Redo")
    press(page, "Redo")
    press(page, "Save")
    page.wait_for_url(f"**{LIST}")
    assert Profile.objects.get(name="ocean").strengths == {79: -20.0, 286: 11.87}


def test_each_slider_that_is_let_go_answers_again_and_the_prompt_survives_a_reload(page: Page) -> None:
    page.goto(url("ocean"))
    page.get_by_label("Prompt").fill("Tell me a story.")
    page.get_by_label("Max tokens").fill("12")
    page.get_by_label("Re-run on change").check()
    slider(page, 286).press("ArrowRight")
    expect_answered(page)
    before = answer(page, "With these strengths").inner_text()
    slider(page, 286).press("Home")
    expect(answer(page, "With these strengths")).not_to_have_text(before)
    expect_answered(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(page.get_by_label("Prompt")).to_have_value("Tell me a story.")
    expect(page.get_by_label("Re-run on change")).to_be_checked()


def test_strengths_for_another_sae_are_not_sent(page: Page) -> None:
    page.goto(url("ocean"))
    page.get_by_label("SAE", exact=True).fill("gemma-scope")
    told = page.get_by_text("It is for the SAE gemma-scope, and demo-sae is attached.")
    expect(told).to_have_count(2)
    expect(page.get_by_text("Does not fit.")).to_be_visible()
    expect(page.get_by_role("button", name="Try", exact=True)).to_be_disabled()
    press(page, "Use the current model and SAE")
    expect(page.get_by_text("Fits.")).to_be_visible()
    expect(page.get_by_label("SAE", exact=True)).to_have_value("demo-sae")
    expect(page.get_by_role("button", name="Try", exact=True)).to_be_enabled()


def test_somebody_elses_change_is_shown_before_it_is_overwritten(page: Page) -> None:
    page.goto(url("ocean"))
    box(page, 79).fill("2")
    Profile.objects.get(name="ocean").save()
    press(page, "Save")
    expect(page.get_by_text("changed this profile after you had opened it")).to_be_visible()
    expect(box(page, 79)).to_have_value("2")
    press(page, "Save mine anyway")
    page.wait_for_url(f"**{LIST}")
    assert Profile.objects.get(name="ocean").strengths[79] == 2.0


def test_who_leaves_with_unsaved_strengths_is_asked_first(page: Page) -> None:
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.goto(url("ocean"))
    press(page, "Remove feature 79")
    page.on("dialog", stay)
    page.get_by_role("link", name="Dashboard").first.click()
    expect(slider(page, 286)).to_be_visible()
    assert asked == ["beforeunload"]


def test_the_active_profile_steers_from_its_page(page: Page) -> None:
    page.goto(url("ocean"))
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_text("Saving takes effect immediately")).to_be_visible()
    box(page, 286).fill("3")
    press(page, "Save and continue editing")
    expect(page.get_by_text("the saved strengths apply to all requests")).to_be_visible()
    assert SteeringState.objects.load().strengths == {79: 6.29, 286: 3.0}


@pytest.fixture
def viewer(anonymous: Page) -> Page:
    user = get_user_model().objects.create_user("viewer", password=PASSWORD, is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_profile"))
    log_in(anonymous, "viewer")
    return anonymous


def test_a_viewer_reads_and_tries_the_profile(viewer: Page) -> None:
    viewer.goto(url("ocean"))
    row = viewer.locator('[data-index="286"]')
    expect(row).to_contain_text("11.87")
    expect(row).to_contain_text("drifts, surfaces, splashes")
    expect(viewer.get_by_role("slider")).to_have_count(0)
    expect(viewer.get_by_role("button", name="Save")).to_have_count(0)
    press(viewer, "Try")
    expect_answered(viewer)


def test_a_list_takes_decimal_commas_and_names_every_wrong_line_at_once(page: Page) -> None:
    page.goto(url("ocean"))
    press(page, "Paste a list")
    lines = page.get_by_label("One feature per line")
    lines.fill("14: 1,5\n99999999: 2\n24 = icy\n15: 5000")
    press(page, "Add to the table")
    for wrong in (
        "line 2: feature 99999999 is out of range",
        "line 3: got “24 = icy”",
        "line 4: got the strength 5000",
    ):
        expect(page.get_by_text(wrong)).to_be_visible()
    lines.fill("14: 1,5")
    press(page, "Add to the table")
    expect(box(page, 14)).to_have_value("1.5")
    box(page, 14).fill("2,5")
    press(page, "Save")
    page.wait_for_url(f"**{LIST}")
    assert Profile.objects.get(name="ocean").strengths[14] == 2.5


def test_a_refused_form_keeps_the_order_of_its_rows_and_the_steps_to_undo(page: Page) -> None:
    page.goto(url("ocean"))
    add = page.get_by_role("combobox", name="Add a feature")
    add.fill("14: 2")
    add.press("Enter")
    page.get_by_label("Name").fill("music")
    order = page.locator("[data-index]").evaluate_all("rows => rows.map((row) => row.dataset.index)")
    assert order[-1] == "14"
    press(page, "Save")
    expect(page.get_by_text("already exists")).to_be_visible()
    assert page.locator("[data-index]").evaluate_all("rows => rows.map((row) => row.dataset.index)") == order
    press(page, "Undo")
    expect(box(page, 14)).to_have_count(0)


def test_the_sliders_of_a_measured_sae_reach_to_a_quarter_of_the_norm_of_the_residual_stream(page: Page) -> None:
    SAE.objects.update(residual_norm=63.3)
    page.goto(f"{LIST}add/")
    add = page.get_by_role("combobox", name="Add a feature")
    add.fill("79")
    add.press("Enter")
    slider(page, 79).press("End")
    expect(box(page, 79)).to_have_value("20")
    SAE.objects.update(residual_norm=200)
    page.get_by_label("Layer").fill("0")  # the page asks again what it knows of the SAE
    slider(page, 79).press("End")
    expect(box(page, 79)).to_have_value("50")

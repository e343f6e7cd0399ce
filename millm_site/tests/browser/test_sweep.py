"""A sweep in the browser: from a profile's page to the form, the grid, the charts and the file."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from inference.sweeps.models import Sweep
from millm_site.tests.browser.test_pages import barriers
from profiles.models import Profile

LONG_MS = 60_000


def begin(page: Page, **fields: str) -> None:
    """Begin the sweep of the form, with these fields."""
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)
    page.get_by_role("button", name="Begin the sweep").click()
    page.wait_for_url(re.compile(r"/admin/inference/sweep/\d+/change/"))


def rows(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True).get_by_role("row")


@pytest.fixture
def swept(page: Page) -> Page:
    """The page of a sweep that has ended: three values of a profile, two prompts, one seed, one word."""
    profile = Profile.objects.named("ocean")
    page.goto(f"/admin/profiles/profile/{profile.pk}/change/")
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("navigation", name="More").get_by_role("link", name="Sweep …").click()
    expect(page.get_by_label("Profile", exact=True)).to_have_value("ocean")
    begin(page, To="2", Number_of_values="3", Seeds="5", Words_to_watch="The", Max_tokens="24")
    expect(page.get_by_text("6 of 6")).to_be_visible(timeout=LONG_MS)
    expect(page.get_by_role("region", name="Answers", exact=True).locator("details")).to_have_count(6)
    return page


def test_a_sweep_goes_from_the_form_to_the_grid_the_charts_and_the_file(swept: Page, tmp_path: Path) -> None:
    sweep = Sweep.objects.get()
    assert sweep.values == [0.0, 1.0, 2.0]
    effects = rows(swept, "Effects of each value")
    expect(effects).to_have_count(4)
    expect(effects.nth(1)).to_contain_text("unsteered")
    for one in ("Perplexity under the unsteered model", "Repeated 4-grams", "Log-probability of “The”"):
        chart = swept.get_by_role("img", name=one)
        expect(chart).to_be_visible()
        expect(chart.locator(".sweep-reference")).to_have_count(1)
        assert chart.locator(".sweep-point, .sweep-point-broken").count() == 3
    answer = sweep.cells.get(value_at=2, prompt_at=0)
    opened = rows(swept, "Answers").nth(3).locator("details").first
    opened.locator("summary").focus()
    swept.keyboard.press("Enter")
    expect(opened.locator(".sweep-text")).to_have_text(answer.text)
    with swept.expect_download() as download:
        swept.get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["answer"] for line in lines] == [cell.text for cell in sweep.cells.all()]
    assert list(barriers(swept)) == []


def test_a_sweep_in_progress_survives_a_reload_and_an_opened_answer_stays_open(page: Page) -> None:
    page.goto("/admin/inference/sweep/add/?profile=ocean")
    begin(page, Number_of_values="40", Seeds="1 2 3 4 5 6 7 8 9 10", Max_tokens="64")
    first = page.get_by_role("region", name="Answers", exact=True).locator("details").first
    expect(first).to_be_visible(timeout=LONG_MS)
    page.reload()
    first.locator("summary").click()
    before = Sweep.objects.get().ended
    expect(page.get_by_text(f"{before:,} of 800", exact=True)).to_have_count(0, timeout=LONG_MS)
    expect(first).to_have_attribute("open", "")
    page.get_by_role("button", name=re.compile("^Cancel")).click()
    expect(page.get_by_text("its answers so far are kept.")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Resume"))).to_be_visible()
    assert Sweep.objects.get().status == "cancelled"


def test_a_sweep_of_a_feature_begins_on_its_page(page: Page) -> None:
    page.goto("/admin/steering/sae/demo-sae/features/3/")
    page.get_by_role("link", name="Sweep its strength").click()
    expect(page.get_by_label("Feature", exact=True)).to_have_value("3")
    expect(page.get_by_label("Profile", exact=True)).to_be_hidden()
    assert list(barriers(page)) == []
    page.get_by_text("The intensity of a profile").click()
    expect(page.get_by_label("Profile", exact=True)).to_be_visible()
    expect(page.get_by_label("Feature", exact=True)).to_be_hidden()

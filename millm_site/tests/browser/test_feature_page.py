"""The page of a feature in the browser: from a label to its page, a label of one's own, a profile that steers."""

import re

import pytest
from django.contrib.admin.utils import quote
from playwright.sync_api import Page, expect

from profiles.models import Profile
from steering.models import SAE, EditedLabel, Feature, FeatureExample, FeatureLabel

PAGE = "/admin/steering/sae/demo-sae/features/79/"


@pytest.fixture
def example() -> None:
    sae = SAE.objects.get(pk="demo-sae")
    FeatureExample.objects.filter(sae=sae, index=79).delete()
    FeatureExample.objects.create(
        sae=sae, index=79, source="measured", rank=0, tokens=["The", " whale", " swims"], values=[0, 5, 1], maximum=5
    )


def test_a_label_leads_to_the_page_where_it_is_edited(page: Page) -> None:
    label = FeatureLabel.objects.of("demo-sae", [79])[79]
    page.goto(f"/admin/steering/featurelabel/?q={label.replace(',', ' ')}")
    page.get_by_role("link", name="79", exact=True).click()
    expect(page.locator(".feature-name")).to_contain_text(label)
    page.get_by_label("Label of your own").fill("whales & ships")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The label is saved.")).to_be_visible()
    expect(page.locator(".feature-name")).to_contain_text("whales & ships")
    page.get_by_text("History of the edited label").click()
    expect(page.get_by_role("region", name="Labels").get_by_text("Created")).to_be_visible()
    page.get_by_role("region", name="Labels").get_by_role("button", name="Delete").click()
    expect(page.locator(".feature-name")).to_contain_text(label)
    assert not EditedLabel.objects.exists()


def test_tokens_that_fire_are_shaded_by_their_strength(page: Page, example: None) -> None:
    page.goto(PAGE)
    tokens = page.get_by_role("region", name="Examples").get_by_role("listitem").first.locator("span")
    expect(tokens).to_have_text(["The", " whale", " swims"], use_inner_text=True)
    shades = tokens.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
    assert len(set(shades)) == 3
    expect(tokens.nth(1)).to_have_attribute("title", "5")


def test_the_nearest_features_lead_from_page_to_page(page: Page) -> None:
    page.goto(PAGE)
    nearest = page.get_by_role("region", name="Nearest features").get_by_role("link")
    near = nearest.first.inner_text()
    nearest.first.click()
    expect(page).to_have_url(re.compile(f"/features/{near}/$"))
    expect(page.get_by_role("region", name="Promoted tokens").get_by_role("listitem")).to_have_count(10)
    assert Feature.objects.filter(sae="demo-sae", index=int(near), nearest__isnull=False).exists()


def test_the_table_of_features_links_to_the_page(page: Page) -> None:
    page.goto(f"/admin/profiles/profile/{quote(Profile.objects.get(name='ocean').pk)}/change/")
    index = page.get_by_role("row").get_by_role("link").first
    expect(index).to_have_attribute("href", f"/admin/steering/sae/demo-sae/features/{index.inner_text()}/")
    with page.context.expect_page() as opened:
        index.click()
    expect(opened.value.locator(".feature-name")).to_be_visible()
    page.get_by_label("SAE", exact=True).fill("unknown")
    expect(page.get_by_role("row").get_by_role("link")).to_have_count(0)


def test_the_page_fits_a_phone(page: Page, example: None) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(PAGE)
    expect(page.get_by_role("region", name="Examples")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

"""The presets of the playground's settings: greedy, the model's own, creative."""

from playwright.sync_api import Page, expect

from inference.models import LanguageModel
from millm_site.tests.browser.test_playground import answered, playground, send

__all__ = ["playground"]  # the fixture


def test_a_preset_sets_the_sampling_and_an_edit_is_ones_own(playground: Page) -> None:
    playground.get_by_text("Settings", exact=True).click()
    preset, temperature = playground.get_by_label("Preset"), playground.get_by_label("Temperature")
    expect(preset).to_have_value("default")
    expect(playground.locator("summary").first).to_contain_text("default · temperature 1")
    playground.get_by_label("Presence penalty").fill("0.5")
    expect(preset).to_have_value("own")
    preset.select_option("Greedy")
    expect(temperature).to_have_value("0")
    expect(playground.get_by_label("Presence penalty")).to_have_value("0")
    expect(playground.locator("summary").first).to_contain_text("greedy · temperature 0")
    preset.select_option("Creative")
    expect(temperature).to_have_value("1.2")
    expect(playground.get_by_label("Top p")).to_have_value("0.95")
    temperature.fill("1.25")
    expect(preset).to_have_value("own")
    temperature.fill("9")
    temperature.blur()
    expect(playground.locator("#id_temperature_wrong")).to_be_visible()
    preset.select_option("Greedy")
    expect(playground.locator("#id_temperature_wrong")).to_be_hidden()
    playground.reload()
    expect(preset).to_have_value("greedy")
    send(playground)
    answered(playground, 2)


def test_the_default_is_the_models_own(page: Page, demo: LanguageModel) -> None:
    LanguageModel.objects.filter(pk=demo.pk).update(sampling_defaults={"temperature": 0.6, "top_p": 0.9})
    page.goto("/admin/playground/")
    page.get_by_text("Settings", exact=True).click()
    expect(page.get_by_label("Preset")).to_have_value("default")
    expect(page.get_by_label("Temperature")).to_have_value("0.6")
    page.get_by_label("Preset").select_option("Creative")
    page.get_by_label("Preset").select_option("Default: the model's own")
    expect(page.get_by_label("Top p")).to_have_value("0.9")

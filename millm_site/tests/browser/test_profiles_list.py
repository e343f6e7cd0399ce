"""The list of profiles in the browser: a row's actions, import with its preview, a bundle to keep."""

import json
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from profiles.models import Profile

LIST = "/admin/profiles/profile/"
CONTENT = {"description": "d", "model": "demo", "sae": "demo-sae", "layer": 1, "steering": {"7": 1.5}}


def bundle(*names: str) -> str:
    profiles = [{**CONTENT, "name": name} for name in names]
    return json.dumps({"version": "1.0", "type": "millm_profile_bundle", "profiles": profiles}, indent=2)


def test_a_profile_is_activated_and_deactivated_from_its_row_by_keyboard(page: Page) -> None:
    page.goto(LIST)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="ocean"))
    row.get_by_role("button", name="Actions: ocean").press("Enter")
    activate = row.get_by_role("button", name="Activate", exact=True)
    expect(activate).to_be_visible()
    expect(row.get_by_role("button", name="Deactivate")).to_be_hidden()
    activate.press("Enter")
    expect(page.get_by_text("ocean is active: it steers all requests from now on.")).to_be_visible()
    expect(row.get_by_text("active", exact=True)).to_be_visible()

    row.get_by_role("button", name="Actions: ocean").click()
    page.keyboard.press("Escape")
    expect(row.get_by_role("button", name="Deactivate")).to_be_hidden()
    row.get_by_role("button", name="Actions: ocean").click()
    row.get_by_role("button", name="Deactivate").click()
    expect(page.get_by_text("ocean is no longer active")).to_be_visible()
    expect(row.get_by_text("active", exact=True)).to_have_count(0)


def test_why_a_profile_does_not_fit_shows_on_hover_and_focus(page: Page) -> None:
    Profile.objects.create(name="foreign", model_id="gpt2", sae_id="demo-sae", layer=1)
    page.goto(LIST)
    badge = page.get_by_role("button", name="does not fit")
    told = page.get_by_role("tooltip")
    expect(badge).to_have_accessible_description("It is for the model gpt2, and demo is loaded.")
    expect(told).to_be_hidden()
    badge.hover()
    expect(told).to_be_visible()
    page.mouse.move(0, 0)
    expect(told).to_be_hidden()
    badge.focus()
    expect(told).to_be_visible()


def test_profiles_are_pasted_previewed_and_imported(page: Page) -> None:
    page.goto(LIST)
    page.get_by_role("link", name="Import").click()
    page.get_by_label("Paste the text").fill(bundle("ocean", "lake")[:-1])
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("the file is not JSON")).to_be_visible()

    page.get_by_label("Paste the text").fill(bundle("ocean", "lake"))
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("a profile 'ocean' already exists")).to_be_visible()
    expect(page.get_by_role("button", name="Import")).to_have_count(0)

    page.get_by_label("Import under a free name").check()
    page.get_by_role("button", name="Preview again").click()
    rows = page.get_by_role("list", name="Preview").get_by_role("listitem")
    expect(rows.filter(has_text="renamed")).to_contain_text("ocean (2)")
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("Imported: 1 renamed, 1 created (ocean (2), lake).")).to_be_visible()
    expect(page.get_by_role("link", name="lake")).to_be_visible()


def test_what_is_too_large_is_told_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.write_bytes(b" " * 5 * 2**20)
    page.goto(f"{LIST}import/")
    page.locator("input[type=file]").set_input_files(large)
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_have_text("Got 5.0 MB, expected at most 4.0 MB: split it.")


def test_the_selected_are_exported_as_a_bundle_that_can_be_imported_again(page: Page) -> None:
    page.goto(LIST)
    for name in ("ocean", "space"):
        page.get_by_role("row").filter(has=page.get_by_role("link", name=name)).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option("Export as one file")
    with page.expect_download() as started:
        page.get_by_role("button", name="Run").click()
    file = Path(started.value.path())
    assert re.fullmatch(r"millm-profiles-2-\d{4}-\d\d-\d\d\.json", started.value.suggested_filename)
    assert [profile["name"] for profile in json.loads(file.read_text())["profiles"]] == ["ocean", "space"]

    page.goto(f"{LIST}import/")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_label("Replace the existing profile").check()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("Nothing changes.")).to_have_count(2)

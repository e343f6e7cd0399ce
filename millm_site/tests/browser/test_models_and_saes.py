"""Models and SAEs in the browser: registered, attached, loaded, watched."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from inference.demo.tiny import FILES
from inference.models import LanguageModel
from millm_site.tests.browser.conftest import Watched
from profiles.models import Profile
from steering.models import SAE

MODELS = "/admin/inference/languagemodel/"
SAES = "/admin/steering/sae/"


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that may be registered from: the demo's SAE in `layer_2/real`, and 60 that only look like one."""
    root = Path(settings.MODEL_DIRS[0]).expanduser() / f"browser-{request.node.name}-{id(request)}"
    for layer in range(60):
        beside = root / f"layer_{layer}" / "width_16k"
        beside.mkdir(parents=True)
        for name in ("cfg.json", "sae_weights.safetensors"):
            (beside / name).touch()
    shutil.copytree(FILES / "sae", root / "layer_2" / "real")
    yield root
    shutil.rmtree(root)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_an_sae_is_found_in_a_folder_registered_and_attached(page: Page, folder: Path, watched: Watched) -> None:
    Profile.objects.get(name="ocean").activate()
    page.goto(f"{SAES}add/")
    press(page, "Look inside")
    expect(page.get_by_role("alert")).to_have_text("Enter a hub id or a folder first.")
    page.get_by_label("Source").fill("/etc")
    press(page, "Look inside")
    expect(page.get_by_role("alert")).to_contain_text("/etc is outside the model folders")
    watched.errors.clear()  # the browser writes a refusal to the console
    page.get_by_label("Source").fill(str(folder))
    press(page, "Look inside")
    expect(page.get_by_role("group", name="61 SAEs inside: choose one")).to_be_visible()
    expect(page.get_by_role("radio")).to_have_count(50)
    page.get_by_label("Search").fill("real 2")
    page.get_by_role("radio").check()
    expect(page.get_by_label("Path")).to_have_value("layer_2/real")
    page.get_by_label("Id", exact=True).fill("from-the-browser")
    press(page, "Register")
    expect(page.get_by_text("from-the-browser is registered and ready")).to_be_visible()
    press(page, "Attach from-the-browser")
    expect(page.get_by_text("Profile ocean is deactivated.")).to_be_visible()
    assert Profile.objects.active() is not None
    press(page, "Attach from-the-browser")
    expect(page.get_by_text("from-the-browser is attached. SAE demo-sae is detached.")).to_be_visible()
    expect(page.get_by_role("button", name="Detach from-the-browser")).to_be_visible()
    assert Profile.objects.active() is None


def test_a_refused_registration_keeps_what_was_typed(page: Page, folder: Path) -> None:
    page.goto(f"{SAES}add/")
    page.get_by_label("Source").fill(str(folder))
    page.get_by_label("Path").fill("layer_3/width_16k")
    page.get_by_label("Id", exact=True).fill("mine")
    press(page, "Register")
    expect(page.get_by_text("cfg.json")).to_be_visible()
    for label, value in (("Source", str(folder)), ("Path", "layer_3/width_16k"), ("Id", "mine")):
        expect(page.get_by_label(label)).to_have_value(value)
    assert not SAE.objects.filter(pk="mine").exists()


def test_progress_moves_by_itself_and_leaves_the_selection_alone(page: Page) -> None:
    rows = SAE.objects.filter(pk="far")
    SAE.objects.create(id="far", source="owner/far", status="downloading", progress=0.1)
    page.goto(SAES)
    bar = page.get_by_role("progressbar", name="Downloading of far")
    expect(bar).to_have_attribute("aria-valuenow", "10")
    row = page.get_by_role("row").filter(has_text="owner/far")
    row.get_by_label("Select record").check()
    rows.update(progress=0.62)
    expect(bar).to_have_attribute("aria-valuenow", "62")
    expect(page.get_by_text("62 %")).to_be_visible()
    rows.update(status="error", progress=None, error="owner/far may not be read: accept its terms")
    expect(row.get_by_text("accept its terms")).to_be_visible()
    expect(row.get_by_text("Fix this and try again")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="far: error")).to_be_attached()
    expect(row.get_by_label("Select record")).to_be_checked()
    expect(page.locator("[data-in-progress]")).to_have_count(0)


def test_a_model_is_unloaded_and_loaded(page: Page) -> None:
    page.goto(MODELS)
    press(page, "Unload demo")
    expect(page.get_by_text("SAE demo-sae is detached.")).to_be_visible()
    page.get_by_role("link", name="Cancel").click()
    press(page, "Unload demo")
    press(page, "Unload demo")
    expect(page.get_by_text("demo is unloaded: no model is current.")).to_be_visible()
    assert LanguageModel.objects.current() is None
    page.get_by_role("link", name="demo", exact=False).first.click()
    press(page, "Load demo")
    expect(page.get_by_role("button", name="Unload demo")).to_be_visible()  # once a worker has loaded it
    expect(page.get_by_text("Current model", exact=True)).to_be_visible()


def test_labels_are_imported_from_the_page_of_their_sae(page: Page, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_text("index,label\n512,beyond\n")
    good.write_text("index,label\n5,a label from the browser\n")
    page.goto(f"{SAES}demo-sae/change/")
    page.get_by_role("link", name="Import labels").click()
    expect(page.get_by_role("combobox", name="demo-sae")).to_be_visible()
    page.get_by_label("Source").fill("mine")
    page.locator("input[type=file]").set_input_files(bad)
    press(page, "Import")
    expect(page.get_by_text("feature 512 is out of range")).to_be_visible()
    expect(page.get_by_label("Source")).to_have_value("mine")
    page.locator("input[type=file]").set_input_files(good)
    press(page, "Import")
    expect(page.get_by_text("1 label imported for demo-sae from mine.")).to_be_visible()
    page.get_by_placeholder("All these words").fill("browser")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="a label from the browser")).to_be_visible()
    expect(page.get_by_role("link", name="shops, parks, commutes")).to_have_count(0)


def test_what_is_in_use_is_not_deleted_and_the_page_says_why(page: Page) -> None:
    page.goto(f"{SAES}demo-sae/delete/")
    expect(page.get_by_text("SAE demo-sae cannot be deleted while it is attached. Detach it first")).to_be_visible()
    page.get_by_role("link", name="Back to the list").click()
    expect(page.get_by_text("demo-sae").first).to_be_visible()

"""The lists of models, SAEs, sweeps and stored responses fit into a window of 1280 px, without a scrollbar."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import Page, expect

from inference.models import LanguageModel
from inference.responses.ids import new_response_id
from inference.responses.models import StoredResponse
from inference.sweeps.models import Sweep
from inference.sweeps.plan import Plan
from inference.sweeps.subject import Subject
from inference.tests.conftest import say
from millm_site.tests.browser.test_pages import barriers
from steering.models import SAE

SHAPE: dict[str, Any] = {"d_model": 160, "num_layers": 4, "context_length": 512, "model_type": "llama"}
LONG = "an-organization-with-a-name/a-language-model-of-7-billion-parameters-instruct"
ERROR = f"{LONG} cannot be served: model.safetensors cannot be read as safetensors, or is cut short: fetch it again"
TOO_WIDE = """() => {
  const found = [];
  for (let one = document.querySelector("#result_list"); one; one = one.parentElement) {
    const scrolls = /auto|scroll/.test(getComputedStyle(one).overflowX);
    if (scrolls && one.scrollWidth > one.clientWidth) found.push(`${one.scrollWidth} > ${one.clientWidth}`);
  }
  return found;
}"""


@pytest.fixture
def rows(page: Page) -> None:
    """Rows with long names, in each state that has texts and buttons."""
    failed = LanguageModel.objects.create(name="a-language-model-of-7-billion-parameters", source=LONG, **SHAPE)
    Sweep.objects.start(Subject.of_profile("ocean"), Plan(values=[1.0], prompts=["Tell me something."])).cancel()
    failed.make_current()
    say(failed, "error", error=ERROR)
    made = {
        "source": LONG,
        "path": "blocks.2.hook_resid_post",
        "model_name": "a-language-model-of-7-billion",
        "d_sae": 9,
    }
    SAE.objects.create(id="a-long-id-of-an-sae-with-many-words", status="error", error=ERROR, **made)
    row = StoredResponse.following(get_user_model().objects.first(), new_response_id(), None)
    row.input_items = []
    row.end("incomplete", {"model": "a-language-model-of-7-billion-parameters:a-profile@0.5", "output": []})


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    "path", ["inference/languagemodel", "steering/sae", "inference/sweep", "inference/storedresponse"]
)
def test_a_list_has_no_scrollbar_at_1280_px(page: Page, path: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"/admin/{path}/")
    expect(page.locator("#result_list")).to_be_visible()
    if folder := os.environ.get("SHOTS"):
        page.screenshot(path=Path(folder) / f"{path.split('/')[1]}.png", full_page=True, animations="disabled")
    assert page.evaluate(TOO_WIDE) == []
    assert list(barriers(page)) == []

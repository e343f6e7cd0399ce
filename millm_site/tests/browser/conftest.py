"""A real browser in front of the real server: headless Chromium, driven by Playwright.

The tests are skipped, and say so, where no Chromium is on the machine; `.ci/run` installs Debian's.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from inference.tests.conftest import Server

PASSWORD = "correct horse battery staple"
TIMEOUT_MS = 20_000
expect.set_options(timeout=TIMEOUT_MS)


def chromium() -> str | None:
    """The browser of CHROMIUM, else one on the PATH."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine: install it (Debian: apt-get install chromium) or set CHROMIUM")
    # Playwright runs an event loop in this thread: Django would take the tests' own queries for asynchronous ones. It
    # ends with the module, since other tests run loops of their own.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Watched:
    """What a page must not do: write errors to the console, fail, or ask another host for something."""

    host: str
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob", "about"} and address.netloc != self.host:
            self.strangers.append(request.url)

    def check(self) -> None:
        assert self.errors == []
        assert self.strangers == []


@pytest.fixture
def context(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture
def watched(server: Server) -> Iterator[Watched]:
    """Checked at the end of every test; a test that provokes an error clears `errors` itself."""
    watched = Watched(urlsplit(server.url).netloc)
    yield watched
    watched.check()


@pytest.fixture
def anonymous(context: BrowserContext, watched: Watched) -> Page:
    """A page on which nobody is logged in."""
    page = context.new_page()
    watched.watch(page)
    return page


@pytest.fixture
def page(anonymous: Page, server: Server) -> Page:
    """The dashboard of a superuser, whose session was made without the form: `log_in` takes a second longer."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("admin", password=PASSWORD))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    anonymous.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": server.url}])
    anonymous.goto("/admin/")
    return anonymous


def log_in(page: Page, username: str, password: str = PASSWORD) -> None:
    page.goto("/admin/login/?next=/admin/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/admin/")

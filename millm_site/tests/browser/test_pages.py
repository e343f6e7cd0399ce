"""Pages in the browser: no console errors, nothing from other hosts (`watched` checks both after every test)."""

import pytest
from playwright.sync_api import Page, expect

PATHS = [
    "/api/profiles",
    "/api/docs",
    "/admin/profiles/profile/",
    "/admin/profiles/profile/add/",
    "/admin/playground/",
    "/admin/auth/user/",
]


def test_who_logs_in_sees_the_dashboard(page: Page) -> None:
    expect(page.get_by_role("link", name="Profiles").first).to_be_visible()


@pytest.mark.parametrize("path", PATHS)
def test_a_page_opens_without_errors(page: Page, path: str) -> None:
    answer = page.goto(path)
    assert answer is not None
    assert answer.ok
    page.wait_for_load_state("networkidle")

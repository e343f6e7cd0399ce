"""Users, groups and API keys, the way of who keeps them; and a viewer, who changes nothing."""

import re

import httpx
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from playwright.sync_api import Page, expect

from inference.tests.conftest import Server
from millm_site.accounts.groups import make_groups
from millm_site.models import APIKey
from millm_site.tests.browser.conftest import PASSWORD, Watched, log_in


def status_of(server: Server, key: str) -> int:
    return httpx.get(f"{server.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_key_is_made_copied_used_and_revoked(page: Page, server: Server) -> None:
    page.goto("/admin/millm_site/apikey/")
    page.get_by_role("link", name="New API key").first.click()
    page.get_by_label("Name").fill("laptop")
    page.get_by_label("Expires", exact=True).select_option("In 30 days")
    page.get_by_label("Requests per minute").fill("100")
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Copy the key now")).to_be_visible()
    page.get_by_role("button", name="Copy the key").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    key = page.evaluate("navigator.clipboard.readText()")
    assert status_of(server, key) == 200
    page.get_by_role("button", name="Copy the command").click()
    assert f"Authorization: Bearer {key}" in page.evaluate("navigator.clipboard.readText()")
    assert key not in page.url

    page.reload()
    expect(page.get_by_text("A key is shown only once")).to_be_visible()
    page.go_back()
    expect(page.get_by_text(key)).to_have_count(0)

    page.goto("/admin/millm_site/apikey/")
    expect(page.get_by_role("row", name="laptop")).to_contain_text("active")
    page.get_by_role("link", name="laptop").click()
    page.get_by_role("link", name="Revoke").click()
    expect(page.get_by_text("This cannot be undone.")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("is revoked")).to_be_visible()
    assert status_of(server, key) == 401


def test_a_viewer_is_made_and_finds_nothing_to_change_with(page: Page, watched: Watched) -> None:
    make_groups()
    page.goto("/admin/auth/user/add/")
    page.get_by_label("Username").fill("vera")
    page.locator("[name=password1]").fill(PASSWORD)
    page.locator("[name=password2]").fill(PASSWORD)
    page.get_by_label("Viewers").check()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    assert list(get_user_model().objects.get(username="vera").groups.all()) == [Group.objects.get(name="Viewers")]

    page.context.clear_cookies()
    log_in(page, "vera")
    sidebar = page.get_by_role("navigation").first
    expect(sidebar.get_by_role("link", name="Profiles")).to_be_visible()
    expect(sidebar.get_by_role("link", name=re.compile("Users|Groups|API keys"))).to_have_count(0)
    for path in ("", "profiles/profile/", "steering/steeringstate/1/change/", "inference/languagemodel/"):
        page.goto(f"/admin/{path}")
        changing = re.compile(r"\b(Activate|Deactivate|Delete|Save|Add|Import|Load|Unload|Revoke|Clear)\b")
        expect(page.get_by_role("button", name=changing)).to_have_count(0)
        expect(page.get_by_role("link", name=changing)).to_have_count(0)


def test_too_many_failed_logins_are_told_so(anonymous: Page) -> None:
    get_user_model().objects.create_superuser("ada", password=PASSWORD)
    anonymous.goto("/admin/")
    for _ in range(5):
        anonymous.get_by_label("Username").fill("ada")
        anonymous.get_by_label("Password").fill("wrong")
        anonymous.get_by_role("button", name="Log in").click()
        expect(anonymous.get_by_label("Password")).to_have_value("")
    expect(anonymous.get_by_text("Too many failed logins with this name from your address")).to_be_visible()


def test_the_keys_of_a_user_end_with_his_being_active(page: Page, server: Server) -> None:
    owner = get_user_model().objects.create_user("bob", password=PASSWORD)
    key = APIKey.objects.issue(owner, "bob's")[1]
    assert status_of(server, key) == 200
    page.goto(f"/admin/auth/user/{owner.pk}/change/")
    page.get_by_label("Active").uncheck()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert status_of(server, key) == 401

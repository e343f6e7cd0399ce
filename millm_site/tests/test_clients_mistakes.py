"""What a client does wrong is refused, whatever it sends, and costs a line of the log: no traceback, no second line."""

import logging
import uuid
from typing import Any

import httpx
import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client

from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.test_logs import lines_with
from millm_site.logs import of_client

REFUSED = {400, 403, 404, 405, 415}


@pytest.fixture
def browser(demo: LanguageModel, admin_user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(admin_user)
    return client


def of_admin() -> list[str]:
    return [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry]


# --- NUL, which PostgreSQL's texts cannot have ---

OBJECTS = ["%00/change/", "1%00/change/", "%00/delete/", "%00/history/", "%00/"]
QUERIES = ["?q=%00", "?id__exact=%00", "?name=%00", "?o=%00", "?p=%00", "?%00=1", "?_changelist_filters=q%3D%00"]


def test_nul_in_an_address_is_a_bad_request_wherever_it_is(browser: Client) -> None:
    paths = [page + rest for page in of_admin() for rest in OBJECTS + QUERIES]
    others = [
        "",
        "/api/profiles",
        "/api/models",
        "/api/steering",
        "/v1/models",
        "/static",
        "/nothing",
        "/admin/playground/",
    ]
    paths += [path + rest for path in others for rest in ("/%00", "?search=%00&x=%00")]
    for path in paths:
        for method in (browser.get, browser.post):
            answer = method(path)
            assert answer.status_code == 400, (path, answer.status_code)
            assert "NUL" in answer.content.decode()


def test_a_percent_sign_is_no_nul(browser: Client) -> None:
    assert browser.get("/admin/profiles/profile/?q=%2500").status_code == 200


@pytest.mark.parametrize("sent", ["\0", "x", "9" * 30, "-1", "\u0661"])
def test_what_no_form_would_send_is_refused_by_every_form_and_action(browser: Client, sent: str) -> None:
    for page in of_admin():
        for name in ("delete_selected", "export_selected", "deactivate_selected", sent):
            assert browser.post(page, {"action": name, "_selected_action": sent}).status_code < 500, (page, name)
        fields = ("name", "user", "username", "description", "source", "sae", "groups", "permissions", "text", "model")
        for form_page in (f"{page}add/", f"{page}import/", f"{page}1/change/"):
            answer = browser.post(form_page, dict.fromkeys(fields, sent))
            assert answer.status_code < 500, form_page


def test_nul_in_what_is_asked_of_v1_is_refused(server: Server, api_key: str) -> None:
    chat: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    changes: list[dict[str, Any]] = [{"model": "\0"}, {"model": "demo:\0"}, {"profile": "\0"}]
    changes += [
        {"steering": {"features": {"\0": 1}}},
        {"steering": {"features": {"1": "\0"}}},
        {"logit_bias": {"\0": 1}},
    ]
    for change in changes:
        headers = {"Authorization": f"Bearer {api_key}"}
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=chat | change, headers=headers, timeout=30)
        assert answer.status_code in REFUSED, (change, answer.text)
    said = chat | {"messages": [{"role": "user", "content": "a\0b"}]}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=said, headers=headers, timeout=30)
    assert answer.status_code == 200, "a text may have it"


# --- the log ---


@pytest.fixture
def session(server: Server, api_key: str) -> httpx.Client:
    client = Client()
    client.force_login(User.objects.get())
    cookies = {"sessionid": client.cookies["sessionid"].value, "csrftoken": "a" * 32}
    return httpx.Client(base_url=server.url, cookies=cookies, headers={"X-CSRFToken": "a" * 32}, timeout=30)


MISTAKES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "nothing there": ("GET", "/nothing", {}, ""),
    "a refused lookup": ("GET", "/admin/auth/user/?password__startswith=a%0Ab", {}, "DisallowedModelAdminLookup"),
    "a refused field": ("GET", "/admin/auth/user/?_to_field=password", {}, "DisallowedModelAdminToField"),
    "a method": ("GET", "/v1/chat/completions", {}, ""),
    "no permission": ("POST", "/admin/steering/feature/add/", {}, "PermissionDenied"),
    "no CSRF token": ("POST", "/admin/profiles/profile/add/", {"headers": {"X-CSRFToken": "b"}}, "CSRF"),
    "another host": ("GET", "/admin/", {"headers": {"Host": "evil"}}, "DisallowedHost"),
    "no form": ("POST", "/admin/auth/group/add/", {"headers": {"Content-Type": "multipart/form-data"}}, "MultiPart"),
    "fields": ("POST", "/admin/auth/group/add/", {"data": dict.fromkeys(map(str, range(2000)), "")}, "TooManyFields"),
    "no JSON": ("POST", "/api/profiles", {"content": b"{", "headers": {"Content-Type": "application/json"}}, ""),
    "NUL": ("GET", "/admin/auth/user/%00/change/", {}, ""),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_is_told_in_a_line_beside_that_of_the_request(
    server: Server, session: httpx.Client, mistake: str
) -> None:
    method, path, sent, told = MISTAKES[mistake]
    trace, log = uuid.uuid4().hex, server.logs / "web.log"
    before = log.stat().st_size
    sent = sent | {"headers": sent.get("headers", {}) | {"X-Request-ID": trace}}
    with session:
        assert session.request(method, path, **sent).status_code in REFUSED
    lines_with(server, "web.log", trace)
    added = log.read_bytes()[before:].decode()
    assert "Traceback" not in added
    beside = [line for line in added.splitlines() if "millm.access" not in line and "/readyz" not in line]
    assert len(beside) == bool(told), beside
    assert all(told in line and "WARNING" in line for line in beside)


def test_an_error_of_ours_is_told_with_its_traceback() -> None:
    failed = {"name": "django.request", "status_code": 500, "exc_info": (ValueError, ValueError("x"), None)}
    record = logging.makeLogRecord(failed)
    assert of_client(record)
    assert record.exc_info == failed["exc_info"]

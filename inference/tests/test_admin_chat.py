"""/admin/chat/completions: chat completions for whoever is logged in to the admin."""

from typing import Any

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils.crypto import get_random_string

from inference.tests.conftest import Server
from profiles.models import Profile
from steering.models import SteeringState

PATH = "/admin/chat/completions"
BODY = {"model": "demo", "messages": [{"role": "user", "content": "Tell me something."}], "temperature": 0}


@pytest.fixture
def viewer(transactional_db: None) -> Any:
    """Staff without any permission."""
    return get_user_model().objects.create_user("viewer", password="x", is_staff=True)


def session(server: Server, user: Any = None) -> httpx.Client:
    """A browser in which `user` is logged in."""
    token = get_random_string(32)
    cookies = {"csrftoken": token}
    if user is not None:
        client = Client()
        client.force_login(user)
        cookies["sessionid"] = client.cookies["sessionid"].value
    return httpx.Client(base_url=server.url, cookies=cookies, headers={"X-CSRFToken": token}, timeout=60)


def error(answer: httpx.Response) -> tuple[int, str | None]:
    """Status and code of a refusal in OpenAI's shape."""
    refused = answer.json()["error"]
    assert set(refused) == {"message", "type", "param", "code"}
    assert refused["message"]
    return answer.status_code, refused["code"]


def test_whoever_may_log_in_may_chat(server: Server, viewer: Any) -> None:
    with session(server, viewer) as browser:
        answer = browser.post(PATH, json=BODY)
        steered = browser.post(PATH, json=BODY | {"model": "demo:ocean"})
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["X-miLLM-Steering"] == "none"
    assert steered.headers["X-miLLM-Profile"] == "ocean"


def test_it_streams_as_v1_does(server: Server, viewer: Any) -> None:
    with session(server, viewer) as browser, browser.stream("POST", PATH, json=BODY | {"stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert lines[-1] == "data: [DONE]"


def test_nobody_and_who_is_no_staff_are_refused(server: Server) -> None:
    user = get_user_model().objects.create_user("user", password="x")
    for who in (None, user):
        with session(server, who) as browser:
            assert error(browser.post(PATH, json=BODY)) == (401, "not_logged_in")


def test_a_key_of_v1_is_no_session(server: Server, api_key: str) -> None:
    answer = httpx.post(server.url + PATH, json=BODY, headers={"Authorization": f"Bearer {api_key}"})
    assert error(answer) == (401, "not_logged_in")


def test_a_forged_request_is_refused(server: Server, viewer: Any) -> None:
    with session(server, viewer) as browser:
        assert error(browser.post(PATH, json=BODY, headers={"X-CSRFToken": ""})) == (403, "csrf_failed")
        assert error(browser.post(PATH, json=BODY, headers={"X-CSRFToken": "x" * 32})) == (403, "csrf_failed")
        assert error(browser.post(PATH, json=BODY, headers={"Origin": "https://evil.test"})) == (403, "csrf_failed")


def test_what_is_wrong_is_told_in_openais_shape(server: Server, viewer: Any) -> None:
    with session(server, viewer) as browser:
        assert error(browser.get(PATH)) == (405, None)
        assert error(browser.post(PATH, content=b"{", headers={"Content-Type": "application/json"})) == (
            400,
            "invalid_request",
        )
        assert error(browser.post(PATH, data={"model": "demo"})) == (415, "unsupported_media_type")
        assert error(browser.post(PATH, json=BODY | {"model": "demo:nobody"})) == (404, "model_not_found")


def test_activation_needs_its_permission_and_is_the_admins_doing(server: Server, viewer: Any) -> None:
    with session(server, viewer) as browser:
        assert error(browser.post(PATH, json=BODY | {"profile": "ocean"})) == (403, "permission_denied")
        assert Profile.objects.active() is None
        viewer.user_permissions.add(Permission.objects.get(codename="activate_profile"))
        assert browser.post(PATH, json=BODY | {"profile": "ocean"}).status_code == 200
    active = Profile.objects.active()
    assert active is not None
    assert active.name == "ocean"
    for version in (active.history.first(), SteeringState.history.first()):
        assert version is not None
        assert (version.door, version.agent) == ("admin", "viewer")

"""What an attacker would try first: what docs/operating.md claims and no other test shows."""

import os
import signal
import stat
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from axes.models import AccessAttempt
from django.conf import settings as configured
from django.contrib.auth import get_user_model
from django.test import Client
from kombu import Connection

from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.test_load import wait_for
from inference.tests.test_logs import CHAT
from inference.tests.test_logs import ask as chat
from millm_site.celery import app
from millm_site.middleware import any_host
from millm_site.tests.test_processes import Web
from millm_site.tests.test_settings import manage

DEBUG = "from django.conf import settings; print(settings.DEBUG)"


def test_debug_is_off_unless_it_is_asked_for() -> None:
    shell = ["shell", "--no-imports", "-c", DEBUG]
    assert manage(*shell).stdout == "False\n"
    assert manage(*shell, DEBUG="true").stdout == "True\n"


# --- behind a proxy ---

PROXY, STRANGER = "127.0.0.3", "127.0.0.2"  # both are this machine (on Linux), and two addresses to a server
LOGIN, TOKEN = "/admin/login/?next=/admin/", "a" * 32


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A `manage.py run web` behind a proxy that ends TLS."""
    made = Web({"HTTPS": "true", "FORWARDED_ALLOW_IPS": PROXY}, tmp_path_factory.mktemp("tls") / "web.log")
    try:
        yield made.wait()
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(timeout=90)


@pytest.fixture
def user(transactional_db: None) -> None:
    get_user_model().objects.create_superuser("ada", password="right")


def ask(url: str, through: str, client: str, password: str = "") -> httpx.Response:
    """The login page, or the login, of an address that `through` names."""
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": client, "Cookie": f"csrftoken={TOKEN}"}
    headers["Referer"] = url.replace("http:", "https:") + LOGIN
    form = {"username": "ada", "password": password, "csrfmiddlewaretoken": TOKEN}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=through), headers=headers, timeout=60) as browser:
        return browser.post(url + LOGIN, data=form) if password else browser.get(url + LOGIN)


def test_behind_tls_browsers_keep_to_https_and_send_cookies_over_it_alone(web: Web, user: None) -> None:
    page, entered = ask(web.url, PROXY, "203.0.113.1"), ask(web.url, PROXY, "203.0.113.1", "right")
    assert (page.status_code, entered.status_code, entered.headers["Location"]) == (200, 302, "/admin/")
    for answer in (page, entered):
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    cookies = {cookie.split("=")[0]: cookie for cookie in entered.headers.get_list("Set-Cookie")}
    assert {"sessionid", "csrftoken"} <= cookies.keys()
    for cookie in cookies.values():
        assert "; Secure" in cookie
        assert "; SameSite=Lax" in cookie
    assert "; HttpOnly" in cookies["sessionid"]


def test_without_tls_there_is_nothing_to_keep_to(server: Server) -> None:
    assert "Strict-Transport-Security" not in httpx.get(server.url + LOGIN).headers


def test_a_trusted_proxy_tells_clients_apart_and_they_cannot_name_another(web: Web, user: None) -> None:
    for number in range(5):
        ask(web.url, PROXY, f"10.0.0.{number}, 203.0.113.7", "wrong")
    assert [one.ip_address for one in AccessAttempt.objects.all()] == ["203.0.113.7"]
    assert ask(web.url, PROXY, "10.0.0.9, 203.0.113.7", "right").status_code == 200
    assert ask(web.url, PROXY, "203.0.113.8", "right").status_code == 302


def test_another_is_not_believed(web: Web, server: Server, user: None) -> None:
    assert ask(web.url, STRANGER, "203.0.113.1").status_code == 301  # to HTTPS, of which it says that it is
    for number in range(5):
        ask(server.url, STRANGER, f"203.0.113.{number}", "wrong")
    assert [one.ip_address for one in AccessAttempt.objects.all()] == [STRANGER]
    assert ask(server.url, STRANGER, "203.0.113.9", "right").status_code == 200


def test_without_the_setting_nobody_is_believed_not_even_this_machine(server: Server, user: None) -> None:
    for number in range(5):
        ask(server.url, "127.0.0.1", f"203.0.113.{number}", "wrong")
    assert [one.ip_address for one in AccessAttempt.objects.all()] == ["127.0.0.1"]
    assert ask(server.url, "127.0.0.1", "203.0.113.9", "right").status_code == 200


def test_the_secret_key_is_readable_by_its_owner_only() -> None:
    mode = stat.S_IMODE(os.stat(configured.MILLM_HOME / "secret_key").st_mode)
    assert mode == 0o600


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/login/", "/api/docs", "/v1/models", "/api/profiles", "/nothing"])
def test_every_answer_has_the_headers_that_restrict_a_browser(path: str) -> None:
    headers = Client().get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert scripts == "script-src 'self' 'unsafe-eval'"  # no inline scripts
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.django_db
def test_an_unknown_host_is_refused() -> None:
    assert Client().get("/admin/login/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["10.1.2.3:8000", "web:8000"])
def test_probes_and_prometheus_may_ask_by_any_address_and_past_the_proxy(settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["millm.example.org"], True
    answers = {path: Client().get(path, headers={"Host": host}).status_code for path in any_host.PATHS}
    assert answers == {"/healthz": 200, "/readyz": 503, "/metrics": 200}


def test_an_error_of_ours_shows_no_traceback(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a detail of the inside")

    monkeypatch.setattr("inference.health.is_served", broken)
    monkeypatch.setattr("inference.models.LanguageModelManager.current", broken)
    admin_client.raise_request_exception = False
    answer = admin_client.get("/readyz")
    assert answer.status_code == 500
    assert b"a detail of the inside" not in answer.content


def test_a_message_that_is_not_json_is_not_even_read(server: Server, api_key: str) -> None:
    """Unpickling runs code: a worker drops such a message, and goes on."""
    assert app.conf.accept_content == ["json"]
    queue = LanguageModel.objects.get(name="demo").queue
    with Connection(configured.CELERY_BROKER_URL) as broker, broker.channel() as channel:
        producer = app.amqp.Producer(channel)
        headers = {"task": "inference.generate", "id": "evil"}
        producer.publish(
            b"\x80\x04.",
            routing_key=queue,
            headers=headers,
            content_type="application/x-python-serialize",
            content_encoding="binary",
        )
    wait_for(lambda: "x-python-serialize" in (server.logs / "worker.log").read_text(), 10)
    assert chat(server, api_key, "after-evil", **CHAT).status_code == 200

"""What an attacker would try first: what docs/operating.md claims and no other test shows."""

import os
import stat
from typing import Any

import pytest
from django.conf import settings as configured
from django.test import Client
from kombu import Connection

from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.test_load import wait_for
from inference.tests.test_logs import CHAT, ask
from millm_site.celery import app
from millm_site.tests.test_settings import manage

NAMES = ("DEBUG", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS")
SHOW = f"from django.conf import settings; print(*(getattr(settings, name) for name in {NAMES}))"


def settings_in(**env: str) -> str:
    return manage("shell", "--no-imports", "-c", SHOW, **env).stdout.strip()


def test_debug_is_off_unless_it_is_asked_for() -> None:
    assert settings_in().startswith("False")
    assert settings_in(DEBUG="true").startswith("True")


def test_behind_tls_cookies_are_secure_and_browsers_keep_to_https() -> None:
    assert settings_in(HTTPS="true") == "False True True 31536000"


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


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/profiles", "/admin/chat/completions"])
def test_a_body_beyond_the_limit_is_refused(path: str, settings: Any, admin_client: Client, api_key: str) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    headers = {"Authorization": f"Bearer {api_key}"} if not path.startswith("/admin") else {}
    answer = admin_client.post(path, "{" + " " * 2000 + "}", content_type="application/json", headers=headers)
    assert answer.status_code == 413


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
    assert ask(server, api_key, "after-evil", **CHAT).status_code == 200

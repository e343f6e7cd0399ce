"""Web and worker as a deployment runs them: static files, a proxy in front, health checks, the end of a web."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from django.conf import settings
from django.db import connection

from inference.broker import heartbeats
from inference.tests.conftest import Server, free_port

MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]
Start = Callable[..., "Web"]


class Web:
    """A `manage.py run web` on the test's database."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.port, self.log = free_port(), log
        self.env = environment() | {"PORT": str(self.port)} | env
        with log.open("wb") as output:
            self.process = subprocess.Popen([*MANAGE, "run", "web"], env=self.env, stdout=output, stderr=output)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> "Web":
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/healthz")
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return self
        raise AssertionError(self.log.read_text())


def environment() -> dict[str, str]:
    name = str(connection.settings_dict["NAME"])
    return os.environ | {"DATABASE_URL": urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}"))}


def manage(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*MANAGE, *words], env=environment() | env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def start(db: None, tmp_path: Path) -> Iterator[Start]:
    started: list[Web] = []

    def start(**env: str) -> Web:
        started.append(Web(env, tmp_path / f"web{len(started)}.log"))
        return started[-1]

    yield start
    for web in started:
        web.process.send_signal(signal.SIGTERM)
        web.process.wait(timeout=90)


def test_collected_files_have_names_of_their_content_and_are_kept_for_ever(start: Start, tmp_path: Path) -> None:
    collected = {"STATIC_ROOT": str(tmp_path / "static")}
    refused = start(**collected)
    assert refused.process.wait(timeout=90) != 0
    assert "run `manage.py collectstatic` first" in refused.log.read_text()
    assert manage("collectstatic", "--noinput", **collected).returncode == 0

    web = start(**collected).wait()
    page = httpx.get(f"{web.url}/admin/login/").text
    links = set(re.findall(r'"(/static/[^"?]+)', page))
    assert any("millm/admin." in link for link in links)
    for link in links:
        answer = httpx.get(f"{web.url}{link}", headers={"Accept-Encoding": "gzip"})
        assert (answer.status_code, "immutable" in answer.headers["Cache-Control"]) == (200, True), link
        assert re.search(r"\.\w{12}\.\w+$", link), link
    assert httpx.get(f"{web.url}{link}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert httpx.get(f"{web.url}/favicon.ico").headers["Location"] in links
    for plain in ("/static/millm/admin.css", "/static/millm/admin.js"):
        answer = httpx.get(f"{web.url}{plain}")
        assert (answer.status_code, "immutable" in answer.headers["Cache-Control"]) == (200, False)


@pytest.mark.parametrize(("proxies", "believed"), [("127.0.0.1", True), ("", False), ("10.0.0.0/8,192.0.2.1", False)])
def test_a_proxy_is_believed_where_it_is_trusted(start: Start, proxies: str, believed: bool) -> None:
    web = start(HTTPS="true", FORWARDED_ALLOW_IPS=proxies).wait()
    assert httpx.get(f"{web.url}/admin/login/").headers["Location"].startswith("https://")
    answer = httpx.get(f"{web.url}/admin/login/", headers={"X-Forwarded-Proto": "https"})
    assert (answer.status_code == 200) == believed
    assert httpx.get(f"{web.url}/healthz").status_code == 200, "the probes do not come through the proxy"


def test_a_stopped_web_finishes_what_it_answers_and_the_next_one_serves(
    start: Start, server: Server, api_key: str
) -> None:
    old, new = start(), start()
    old.wait()
    new.wait()
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 200}
    body |= {"logit_bias": {"2": -100}}
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.stream("POST", f"{old.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        old.process.send_signal(signal.SIGTERM)
        assert list(lines)[-2:] == ["data: [DONE]", ""]
    assert old.process.wait(timeout=90) in {0, -signal.SIGTERM}
    asked = httpx.post(f"{new.url}/v1/chat/completions", json=body | {"stream": False}, headers=headers, timeout=60)
    assert asked.status_code == 200


def test_the_health_checks_tell_web_and_worker(start: Start, server: Server) -> None:
    web = start(ALLOWED_HOSTS=".example.org").wait()
    for words in (["web"], ["web", "--ready"]):
        done = manage("healthcheck", *words, ALLOWED_HOSTS=".example.org", PORT=str(web.port))
        assert done.returncode == 0, done.stderr
    name = next(beat.worker for beat in heartbeats.live_workers() if beat.status == "ready").split("@")[0]
    done = manage("healthcheck", "worker", "--ready", "--name", name)
    assert (done.returncode, done.stdout) == (0, "ready\n"), done.stderr


def test_the_health_checks_tell_what_is_wrong(db: None) -> None:
    for words, told in (
        (["web"], "the web does not answer"),
        (["worker", "--name", "nobody"], "no heartbeat from nobody@"),
    ):
        done = manage("healthcheck", *words, PORT=str(free_port()))
        assert (done.returncode, told in done.stderr) == (1, True), done.stderr


def test_a_worker_is_not_restarted_because_redis_is_away(db: None) -> None:
    away = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    assert manage("healthcheck", "worker", **away).returncode == 0
    assert manage("healthcheck", "worker", "--ready", **away).returncode == 1

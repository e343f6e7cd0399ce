"""A body beyond the limit is refused before it is read, whoever sends it and wherever to; label files may be larger."""

import http.client
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import OperationalError
from django.test import Client

from inference.tests.conftest import Server
from inference.tests.test_logs import lines_with
from millm_site.middleware import body_limit
from millm_site.middleware.body_limit import limits_bodies
from millm_site.models import APIKey
from millm_site.tests.test_processes import Web
from steering.labels.models import FeatureLabel

MIB = 2**20
CHUNK = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
DOORS = ["/v1/chat/completions", "/admin/chat/completions", "/api/profiles", "/admin/login/", "/nothing"]
REST, PAGE = "/api/saes/demo-sae/labels/import", "/admin/steering/featurelabel/import/"
FORM = "multipart/form-data; boundary=x"


class Sender(http.client.HTTPConnection):
    """Sends a body, or only says how long it is, and does not end it."""

    def __init__(self, server: Server | Web, path: str, size: int | None, **headers: str) -> None:
        super().__init__(urlsplit(server.url).netloc, timeout=20)
        self.putrequest("POST", path)
        length = {"Transfer-Encoding": "chunked"} if size is None else {"Content-Length": str(size)}
        for name, value in ({"Content-Type": FORM} | length | headers).items():
            self.putheader(name, value)
        self.endheaders()

    def answer(self) -> tuple[int, http.client.HTTPMessage, str]:
        with self.getresponse() as answer:
            return answer.status, answer.headers, answer.read().decode()


def check_refusal(path: str, status: int, headers: Any, body: str) -> None:
    assert status == 413
    assert headers["Connection"] == "close"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    if path.startswith("/api"):
        assert json.loads(body)["code"] == "request_too_large"
        assert "4194304 bytes" in json.loads(body)["detail"]
    elif path.startswith(("/v1", "/admin/chat")):
        error = json.loads(body)["error"]
        assert (error["code"], error["type"], error["param"]) == ("request_too_large", "invalid_request_error", None)
        assert "4194304 bytes" in error["message"]
    else:
        assert "This server takes at most 4.0" in body


def refusals(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    of_posts = [line for line in lines if line.startswith("millm_http_requests_total{") and 'method="POST"' in line]
    return sum(float(line.split()[-1]) for line in of_posts if 'status="413"' in line)


@pytest.mark.parametrize("path", DOORS)
def test_a_body_is_refused_by_its_length_before_any_of_it_is_sent(server: Server, path: str) -> None:
    trace, before = uuid.uuid4().hex, refusals(server)
    status, headers, body = Sender(server, path, 64 * MIB, **{"X-Request-ID": trace}).answer()
    check_refusal(path, status, headers, body)
    assert headers["X-Request-ID"] == trace
    assert any(f"POST {path} 413" in line for line in lines_with(server, "web.log", trace))
    assert refusals(server) == before + 1


@pytest.mark.parametrize("path", DOORS)
def test_a_body_without_a_length_is_refused_while_it_is_sent(server: Server, api_key: str, path: str) -> None:
    sender = Sender(server, path, None, Authorization=f"Bearer {api_key}")
    for _ in range(5 * MIB // 2**16):
        sender.send(CHUNK)
    check_refusal(path, *sender.answer())


def test_a_client_that_waits_for_a_go_ahead_gets_none(server: Server) -> None:
    status, headers, body = Sender(server, "/nothing", 64 * MIB, Expect="100-continue").answer()
    check_refusal("/nothing", status, headers, body)


@pytest.mark.parametrize("path", ["/admin/login/", "/v1/chat/completions"])
def test_a_client_that_sends_all_before_it_reads_gets_the_answer_too(server: Server, path: str) -> None:
    answer = httpx.post(f"{server.url}{path}", files={"file": b"x" * 16 * MIB}, timeout=30)
    check_refusal(path, answer.status_code, answer.headers, answer.text)


def test_a_client_that_neither_sends_nor_goes_is_disconnected(server: Server) -> None:
    sender = Sender(server, "/nothing", 64 * MIB)
    with sender.sock.dup() as connection:
        assert sender.answer()[0] == 413
        began = time.monotonic()
        connection.settimeout(20)
        assert connection.recv(1) == b""
    assert time.monotonic() - began < body_limit.LINGER_S + 5


def test_of_a_body_without_a_length_no_more_than_the_limit_is_kept(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 250
    kept: list[bytes] = []
    rest = [{"type": "http.request", "body": b"x" * 100, "more_body": True}] * 10

    async def application(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            kept.append(message["body"])
            more = message["more_body"]

    async def receive() -> Any:
        return rest.pop()

    scope = {"type": "http", "method": "POST", "path": "/v1/models", "headers": []}
    async_to_sync(limits_bodies(application))(scope, receive, None)
    assert b"".join(kept) == b"x" * 200
    assert len(rest) == 7, "no more was asked for"


# --- files of labels ---


def rows() -> Iterator[bytes]:
    """Some 6 MiB of ten labels."""
    for index in range(10):
        row = {"index": index, "description": f"label {index}", "embedding": "x" * 600_000}
        yield json.dumps(row).encode() + b"\n"


def imported() -> int:
    return FeatureLabel.objects.filter(label__startswith="label ").count()


@pytest.fixture
def browser(server: Server, api_key: str) -> Iterator[httpx.Client]:
    """Logged in to the admin, with the permissions of `api_key`."""
    client = Client()
    client.force_login(get_user_model().objects.get())
    cookies = {"sessionid": client.cookies["sessionid"].value, "csrftoken": "a" * 32}
    with httpx.Client(base_url=server.url, cookies=cookies, headers={"X-CSRFToken": "a" * 32}, timeout=60) as made:
        yield made


def test_a_file_of_labels_may_be_larger_through_rest(server: Server, api_key: str) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    answer = httpx.post(f"{server.url}{REST}", content=rows(), headers=headers, timeout=60)
    assert (answer.status_code, imported()) == (200, 10), answer.text


def test_a_file_of_labels_may_be_larger_through_the_admin(browser: httpx.Client) -> None:
    file = {"file": ("labels.jsonl", b"".join(rows()))}
    answer = browser.post(PAGE, data={"sae": "demo-sae"}, files=file)
    assert (answer.status_code, imported()) == (302, 10), answer.text


def test_a_profile_file_that_is_too_large_is_told_beside_its_field(browser: httpx.Client) -> None:
    answer = browser.post("/admin/profiles/profile/import/", data={"text": ""}, files={"file": b" " * 5 * MIB})
    assert answer.status_code == 200
    assert "expected at most 4.0" in answer.text


@pytest.mark.parametrize("path", [REST, PAGE])
@pytest.mark.parametrize("size", [64 * MIB, None])
def test_only_who_may_import_labels_may_send_more(server: Server, api_key: str, path: str, size: int | None) -> None:
    viewer = get_user_model().objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_featurelabel"))
    key = APIKey.objects.issue(viewer, "theirs")[1]
    client = Client()
    client.force_login(viewer)
    session = f"sessionid={client.cookies['sessionid'].value}"
    known = [{"Authorization": f"Bearer {key}"}, {"Cookie": session}]
    for headers in ({}, *known, {"Authorization": "Bearer no"}):
        sender = Sender(server, path, size, **headers)
        for _ in range(0 if size else 5 * MIB // 2**16):
            sender.send(CHUNK)
        status, _, body = sender.answer()
        assert (status, "check your login or key" in body) == (413 if headers in known else 401, True)


def test_beyond_the_limit_of_label_files_a_file_is_refused_too(settings: Any, demo: Any, api_key: str) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE, settings.LABELS_MAX_BYTES = 1000, 2000
    assert [post_in_process(api_key, b"x" * size).status_code for size in (2900, 3100)] == [400, 413]


def test_where_it_cannot_be_known_who_sends_it_the_outage_is_told(api_key: str, monkeypatch: Any) -> None:
    def away(*args: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(body_limit, "limit_for_sender", away)
    answer = post_in_process(api_key, b"x" * 5 * MIB)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"]


def post_in_process(key: str, body: bytes) -> httpx.Response:
    from millm_site.asgi import application

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(REST, content=body, headers={"Authorization": f"Bearer {key}"})

    return async_to_sync(post)()

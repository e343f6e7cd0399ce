"""A body has to arrive in time, and more than a form's worth of it is taken only of who has a key or a login."""

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from inference.tests.conftest import Server
from millm_site.middleware import body_limit, sender_limit
from millm_site.models import APIKey
from millm_site.tests.test_body_limit import CHUNK, DOORS, MIB, Sender
from millm_site.tests.test_processes import Web

READ_S = 1.0


@pytest.fixture(scope="module")
def patient(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A `manage.py run web` that waits a second for bodies."""
    made = Web({"REQUEST_READ_S": str(READ_S)}, tmp_path_factory.mktemp("bodies") / "web.log")
    try:
        yield made.wait()
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(timeout=90)


def code_of(path: str, body: str) -> str:
    if path.startswith(("/v1", "/admin/chat")):
        return str(json.loads(body)["error"]["code"])
    return str(json.loads(body)["code"]) if path.startswith("/api") else "page" * ("<h1>" in body)


def send_slowly(web: Web, path: str, pieces: int) -> None:
    """Send a part of a body in so many pieces, and no more: it is refused in its time."""
    began = time.monotonic()
    sender = Sender(web, path, 1000)
    for _ in range(pieces):  # so that something arrives all the time
        sender.send(b"x")
        time.sleep(0.1)  # all together, longer than it waits
    with sender.sock.dup() as connection:
        status, headers, body = sender.answer()
        assert (status, headers["Connection"]) == (408, "close")
        assert code_of(path, body) in {"request_timeout", "page"}
        assert "did not arrive in time" in body
        assert READ_S - 0.1 < time.monotonic() - began < READ_S + 8
        assert connection.recv(1) == b""
    assert time.monotonic() - began < READ_S + body_limit.LINGER_S + 10


def test_a_body_that_does_not_end_in_time_is_refused(patient: Web, transactional_db: None) -> None:
    """All doors at once: each takes its time."""
    bodies = [*((path, 0) for path in DOORS), ("/v1/chat/completions", 12)]
    with ThreadPoolExecutor(len(bodies)) as senders:
        for sent in [senders.submit(send_slowly, patient, path, pieces) for path, pieces in bodies]:
            sent.result()


def test_a_body_that_takes_longer_and_goes_on_is_taken(patient: Web, api_key: str) -> None:
    sender = Sender(patient, "/v1/chat/completions", None, Authorization=f"Bearer {api_key}")
    began = time.monotonic()
    while time.monotonic() - began < 2 * READ_S:
        sender.send(CHUNK)
        time.sleep(0.3)
    sender.send(b"0\r\n\r\n")
    assert sender.answer()[0] == 415
    sender.close()


STRANGERS: list[dict[str, str]] = [{}, {"Authorization": "Bearer no"}, {"Cookie": "sessionid=no"}]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("size", [sender_limit.UNKNOWN_MAX + 1, None])
def test_of_strangers_no_more_than_a_form_is_taken(server: Server, path: str, size: int | None) -> None:
    for headers in STRANGERS:
        sender = Sender(server, path, size, **headers)
        for _ in range(0 if size else 2):
            sender.send(CHUNK)
        status, answered, body = sender.answer()
        assert (status, answered["Connection"]) == (401, "close")
        assert code_of(path, body) in {"invalid_api_key", "page"}
        assert "check your login or key" in body


def test_who_is_known_may_send_more(server: Server, api_key: str) -> None:
    client = Client()
    client.force_login(get_user_model().objects.get())
    session = {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}
    for headers in ({"Authorization": f"Bearer {api_key}"}, {"Authorization": f"bearer {api_key}"}, session):
        sender = Sender(server, "/nothing", MIB, **headers)
        sender.send(b"x" * MIB)
        assert sender.answer()[0] == 404
        sender.close()


@pytest.mark.parametrize("change", [{"user__is_active": False}, {"expiry": "2020-01-01T00:00Z"}])
def test_a_key_that_does_not_work_is_a_strangers(api_key: str, change: dict[str, Any]) -> None:
    key = APIKey.objects.get()
    if "expiry" in change:
        APIKey.objects.update(**change)
    else:
        key.user.is_active = False
        key.user.save()
    authorization = (b"authorization", f"Bearer {api_key}".encode())
    scope = {"type": "http", "method": "POST", "path": "/v1/models", "headers": [authorization]}
    with pytest.raises(sender_limit.UnknownSender):
        sender_limit.limit_for_sender(scope, MIB)

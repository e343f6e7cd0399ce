"""The head of a request is bounded, in size and in time, before any of it reaches Django: nobody has logged in yet."""

import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator

import httpx
import psutil
import pytest

from millm_site.tests.test_processes import Web

MIB = 2**20
READ_S = 1.0
LINE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A `manage.py run web` that waits a second for requests."""
    made = Web({"REQUEST_READ_S": str(READ_S), "LOG_FORMAT": "plain"}, tmp_path_factory.mktemp("heads") / "web.log")
    try:
        yield made.wait()
    finally:
        made.process.send_signal(signal.SIGTERM)
        made.process.wait(timeout=90)


def converse(web: Web, pieces: Iterable[bytes], wait_s: float = 0, timeout_s: float = 15) -> tuple[bytes, float]:
    """Send `pieces`, as far as they are taken: all that comes back until the web closes, and how long that took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", web.port), timeout=timeout_s) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(wait_s)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it took no more; what it said before is still there to read
        answer = b""
        try:
            while read := client.recv(2**16):
                answer += read
        except ConnectionResetError:
            pass
    return answer, time.monotonic() - began


def told(web: Web, since: int) -> str:
    return web.log.read_text()[since:]


def endless(first: bytes, piece: bytes, size: int) -> Iterator[bytes]:
    yield LINE + first
    for _ in range(size // len(piece)):
        yield piece


HEADS: dict[str, Callable[[], Iterable[bytes]]] = {
    "one header": lambda: endless(b"X-Large: ", b"x" * 2**16, 64 * MIB),
    "many headers": lambda: endless(b"", b"X-Small: 1\r\n" * 4096, 64 * MIB),
    "one name": lambda: endless(b"", b"x" * 2**16, 64 * MIB),
    "a path": lambda: [b"GET /", *[b"x" * 2**16] * 1024],
    "all at once": lambda: [LINE + b"X-Large: " + b"x" * 100_000 + b"\r\n\r\n"],
    "empty lines": lambda: [b"\r\n" * 2**15] * 1024,
}


@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_head_beyond_64_kib_is_refused_and_costs_nothing(web: Web, head: str) -> None:
    process = psutil.Process(web.process.pid)
    before, since = process.memory_info().rss, web.log.stat().st_size
    answer, took_s = converse(web, HEADS[head]())
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"), answer
    assert b"connection: close" in answer
    assert b"65536 bytes" in answer
    assert took_s < 12
    assert process.memory_info().rss - before < 16 * MIB
    assert len(told(web, since).splitlines()) <= 1
    assert httpx.get(f"{web.url}/healthz").status_code == 200


def test_the_headers_after_a_body_count_too(web: Web) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    for piece in (b"X-Small: 1\r\n" * 4096, b"x" * 2**16):
        answer, took_s = converse(web, [head, *[piece] * 512])
        assert b"200" not in answer
        assert took_s < 12
    assert httpx.get(f"{web.url}/healthz").status_code == 200


def test_a_head_below_the_limit_is_taken(web: Web) -> None:
    with httpx.Client(base_url=web.url) as client:
        for _ in range(3):
            assert client.get("/healthz", headers={"X-Large": "x" * 30_000, "X-Other": "x" * 30_000}).status_code == 200


# --- time ---


@pytest.mark.parametrize(
    ("pieces", "wait_s"),
    [([LINE], 0), ([b"GE"], 0), ([b"GET /", *[b"x"] * 20], 0.2)],
    ids=["half a head", "two letters", "a letter at a time"],
)
def test_who_does_not_end_a_head_is_disconnected(web: Web, pieces: list[bytes], wait_s: float) -> None:
    answer, took_s = converse(web, pieces, wait_s)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), answer
    assert READ_S - 0.1 < took_s < READ_S + 8


@pytest.mark.parametrize(("pieces", "wait_s"), [([], 0), ([b"\r\n"] * 10, 0.2)], ids=["nothing", "empty lines"])
def test_who_asks_nothing_is_disconnected(web: Web, pieces: list[bytes], wait_s: float) -> None:
    answer, took_s = converse(web, pieces, wait_s)
    assert answer == b""
    assert READ_S - 0.1 < took_s < READ_S + 8


def test_the_second_request_of_a_connection_has_its_time_too(web: Web) -> None:
    answer, _ = converse(web, [LINE + b"\r\n" + LINE])
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert answer.count(b"HTTP/1.1 408 Request Timeout\r\n") == 1
    with socket.create_connection(("127.0.0.1", web.port), timeout=15) as client:
        for _ in range(4):  # longer than the time for one, all together
            client.sendall(LINE + b"\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += client.recv(2**16)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            time.sleep(READ_S / 2.5)
        client.sendall(LINE)
        assert client.recv(2**16).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


# --- upgrades ---


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
@pytest.mark.parametrize("path", ["/healthz", "/v1/chat/completions"])
def test_an_upgrade_is_answered_as_any_other_request(web: Web, path: str, protocol: str) -> None:
    since = web.log.stat().st_size
    headers = {"Connection": "Upgrade", "Upgrade": protocol, "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    answer = httpx.get(f"{web.url}{path}", headers=headers)
    assert answer.status_code == (200 if path == "/healthz" else 405)
    assert not re.search("Traceback|uvicorn", told(web, since))

"""Whatever a client sends to /v1: an error of OpenAI's shape, never HTML, never a 5xx."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inference.tests.conftest import Server

GOOD = {"model": "demo", "messages": [{"role": "user", "content": "Tell me something."}], "max_tokens": 5}


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def error_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-ID"]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_url"),
        ("POST", "", 404, "unknown_url"),
        ("GET", "/chat/completions", 405, None),
        ("DELETE", "/models", 405, None),
        ("POST", "/models/demo", 405, None),
        ("GET", "/models/nothing", 404, "model_not_found"),
    ],
)
def test_unknown_paths_and_methods(client: httpx.Client, method: str, path: str, status: int, code: str | None) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert status != 405 or answer.headers["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        json.dumps(GOOD | {"temperature": float("nan")}).encode(),
        json.dumps(GOOD | {"temperature": float("inf")}).encode(),
        json.dumps(GOOD | {"stream": "yes"}).encode(),
        json.dumps(GOOD | {"n": True}).encode(),
        json.dumps(GOOD | {"max_tokens": 10**400}).encode(),
        json.dumps(GOOD | {"messages": [{"role": "user", "content": "\ud800"}]}).encode(),
        json.dumps(GOOD | {"messages": [{"role": "robot", "content": "x"}]}).encode(),
        json.dumps(GOOD | {"stop": ["a", "b", "c", "d", "e"]}).encode(),
        json.dumps(GOOD | {"response_format": {"type": "grammar"}}).encode(),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert error_of(answer)["type"] == "invalid_request_error"


def test_what_is_odd_and_can_be_answered_is_answered(client: httpx.Client) -> None:
    odd = GOOD | {"messages": [{"role": "user", "content": "a\0b \u202e 🌊"}], "user": None, "seed": None, "made_up": 1}
    headers = {"Accept": "text/html", "Cookie": "sessionid=x; csrftoken=y", "Origin": "http://elsewhere.example"}
    answer = client.post("/chat/completions/", json=odd, headers=headers | {"X-Request-ID": "mine-7"})
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"] == "mine-7"
    strict = client.post("/chat/completions", json=odd, headers={"X-miLLM-Strict": "true"})
    assert (strict.status_code, error_of(strict)["param"]) == (400, "made_up")


def test_a_wrong_content_type_is_a_415(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", content=json.dumps(GOOD), headers={"Content-Type": "text/plain"})
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unsupported_media_type")


def test_a_body_beyond_the_bound_is_a_413(client: httpx.Client) -> None:
    big = GOOD | {"messages": [{"role": "user", "content": "x" * 6_000_000}]}
    answer = client.post("/chat/completions", json=big)
    assert (answer.status_code, error_of(answer)["code"]) == (413, "request_too_large")


def test_a_prompt_beyond_the_context_is_refused_in_seconds(client: httpx.Client) -> None:
    long = GOOD | {"messages": [{"role": "user", "content": "ocean wave " * 300_000}]}
    began = time.monotonic()
    answer = client.post("/chat/completions", json=long)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert "This model's maximum context length is 4096 tokens" in error["message"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", "Basic eDp5", "Bearer \xe9"])
def test_without_a_good_key_it_is_a_401(server: Server, key: str) -> None:
    headers = {"Authorization": key.encode("latin-1")} if key else {}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=GOOD, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_api_key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_options_and_head_are_answered(client: httpx.Client) -> None:
    assert client.head("/models").status_code == 200
    options = client.options("/chat/completions")
    assert (options.status_code, options.headers["Allow"]) == (204, "POST, OPTIONS")

"""A client that asks for much and does not read it: its request ends, and of its answer little is kept."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from inference.openai.answers import Answer, Choice, TextAnswer
from inference.openai.chat_answer import ChatAnswer
from inference.tests.conftest import Server
from inference.tests.test_load import LONG, running, wait_for

HEAD = "\r\n".join(
    [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        "Authorization: Bearer {key}",
        "Content-Type: application/json",
        "Content-Length: {length}",
        "\r\n",
    ]
)


@pytest.fixture
def connection(server: Server) -> Iterator[socket.socket]:
    """To the web, with little room on the way: the web soon has to wait for its client."""
    where = urlsplit(server.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # the other side's room is in these
        connection.settimeout(30)
        connection.connect((where.hostname, where.port))
        yield connection


def test_a_client_that_does_not_read_frees_its_place_and_is_told_when_it_reads(
    server: Server, api_key: str, connection: socket.socket
) -> None:
    wait_for(lambda: running() == 0, 10)
    body = json.dumps(LONG | {"stream": True, "n": 4, "logprobs": True, "top_logprobs": 20}).encode()
    connection.sendall(HEAD.format(key=api_key, length=len(body)).encode() + body)
    assert connection.recv(12) == b"HTTP/1.1 200"
    wait_for(lambda: running() > 0, 10)
    wait_for(lambda: running() == 0, 60)
    with connection.makefile("rb") as answer:
        events = [line for line in answer if line.startswith(b"data: ")]
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["code"] == "client_too_slow"
    assert len(events) < 3000  # of 12,000 tokens


def told(answer: Answer) -> list[dict[str, Any]]:
    """The chunks of an answer of 50 tokens, echoed prompt first."""
    entry = {"token": "ab", "logprob": -1.0, "bytes": [97, 98], "top_logprobs": []}
    started = {
        "index": 0,
        "prompt_tokens": 2,
        "cached_tokens": 0,
        "echo": "abab",
        "logprobs": [entry] * 2,
        "widths": [2, 2],
    }
    delta = {"index": 0, "text": "ab", "token_ids": [1], "logprobs": [entry], "widths": [2]}
    events = [("started", started), *[("delta", delta)] * 50, ("finished", {"index": 0, "reason": "stop"})]
    return [chunk for kind, data in events for chunk in answer.take(kind, data)]


@pytest.mark.parametrize("kind", [ChatAnswer, TextAnswer])
def test_of_a_stream_nothing_is_kept_that_was_sent(kind: type[Answer]) -> None:
    streamed, whole = (kind("r", "demo", "fp", [Choice()], streamed=streamed) for streamed in (True, False))
    assert told(streamed) == [{**chunk, "created": streamed.created} for chunk in told(whole)]
    assert (streamed.choices[0].text, streamed.choices[0].logprobs) == ([], [])
    assert streamed.usage() == whole.usage()
    assert len(whole.choices[0].logprobs) == 52


def test_the_offsets_of_a_streamed_text_go_on() -> None:
    chunks = told(TextAnswer("r", "demo", "fp", [Choice()], streamed=True))
    offsets = [
        one for chunk in chunks if (logprobs := chunk["choices"][0]["logprobs"]) for one in logprobs["text_offset"]
    ]
    assert offsets == [*range(0, 104, 2)]

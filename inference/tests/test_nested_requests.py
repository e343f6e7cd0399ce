"""What is nested too deeply is the client's mistake, whatever field it is in: a 400, and no traceback in any log."""

import json
from typing import Any

import httpx
import pytest

from inference.openai.fields.depth import MAX_DEPTH
from inference.tests.conftest import Server

USER = {"role": "user", "content": "x"}
CHAT: dict[str, Any] = {"model": "demo", "messages": [USER], "max_tokens": 1}
SHAPES = {"lists": ("[", "]"), "objects": ('{"a":', "}")}


def nested(shape: str, depth: int) -> str:
    first, last = SHAPES[shape]
    return first * depth + ("1" if shape == "objects" else "") + last * depth


def post(server: Server, key: str, path: str, text: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return httpx.post(server.url + path, content=text, headers=headers, timeout=30)


def call(arguments: str) -> str:
    made = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return json.dumps(CHAT | {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [made]}, USER]})


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_arguments_of_tools_may_be_nested_some_levels(server: Server, api_key: str, shape: str) -> None:
    before = {log: (server.logs / log).stat().st_size for log in ("web.log", "worker.log")}
    answer = post(server, api_key, "/v1/chat/completions", call(nested(shape, MAX_DEPTH)))
    assert answer.status_code == 200, answer.text
    for depth in (MAX_DEPTH + 1, 300, 950, 5000, 100_000):
        answer = post(server, api_key, "/v1/chat/completions", call(nested(shape, depth)))
        assert answer.status_code == 400, (depth, answer.text)
        error = answer.json()["error"]
        assert error["param"] == "messages.1.tool_calls.0.function.arguments"
        assert "nested too deeply, expected at most 64 levels" in error["message"]
    for log, size in before.items():
        added = (server.logs / log).read_text()[size:]
        assert "Traceback" not in added
        assert len(added.splitlines()) < 20


FIELDS = {
    "/v1/chat/completions": [
        *("messages", "tools", "metadata", "logit_bias", "stop", "steering", "user", "anything"),
        "response_format",
    ],
    "/v1/responses": [
        *("input", "instructions", "tools", "text", "reasoning", "metadata", "include", "steering", "anything"),
        "chat_template_kwargs",
    ],
    "/v1/completions": ["prompt", "suffix"],
    "/v1/embeddings": ["input"],
    "/api/profiles": ["name", "steering", "labels", "layer"],
    "/api/profiles/import": ["profiles"],
    "/api/models": ["name", "source"],
}


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_no_field_that_is_nested_deeply_fails_the_server(server: Server, api_key: str, path: str) -> None:
    before = {log: (server.logs / log).stat().st_size for log in ("web.log", "worker.log")}
    others = {} if path == "/v1/responses" else {"prompt": "x", "messages": [USER]}
    for field in FIELDS[path]:
        body = json.dumps({"model": "demo", "input": "x", **others, field: "DEEP"})
        for depth in (100, 240, *range(900, 1000, 20), 20_000):
            answer = post(server, api_key, path, body.replace('"DEEP"', nested("objects", depth)))
            assert answer.status_code < 500, (field, depth, answer.text)
    for log, size in before.items():
        assert "Traceback" not in (server.logs / log).read_text()[size:]


def test_a_schema_that_is_nested_deeply_is_refused_or_answered(server: Server, api_key: str) -> None:
    before = {log: (server.logs / log).stat().st_size for log in ("web.log", "worker.log")}
    for depth in (30, 60, 90, 150, 300, 2000):
        schema = '{"type":"object","properties":{"a":' * depth + '{"type":"integer"}' + "}}" * depth
        form = '{"type":"json_schema","json_schema":{"name":"a","schema":' + schema + "}}"
        text = json.dumps(CHAT | {"response_format": "DEEP"}).replace('"DEEP"', form)
        answer = post(server, api_key, "/v1/chat/completions", text)
        assert answer.status_code in {200, 400}, (depth, answer.text)
    for log, size in before.items():
        assert "Traceback" not in (server.logs / log).read_text()[size:]

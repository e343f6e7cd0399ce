"""The logs of web and worker: a request is found in both by its id; prompts, answers and keys are in neither."""

import io
import json
import logging
import logging.config
import time
import uuid

import httpx
import pytest

from inference.tests.conftest import Server
from millm_site import logs

SECRET = "a-word-that-only-the-prompt-has"
CHAT = {"model": "demo", "messages": [{"role": "user", "content": SECRET}], "max_tokens": 5}


def ask(server: Server, key: str, trace: str, **body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": trace}
    return httpx.post(f"{server.url}/v1/chat/completions", json=CHAT | body, headers=headers, timeout=30)


def lines_with(server: Server, log: str, text: str, timeout_s: float = 10) -> list[str]:
    """The lines of a log that have `text`, as soon as there are some."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := [line for line in (server.logs / log).read_text().splitlines() if text in line]:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{log} has no line with {text!r}")


def test_a_request_is_found_by_its_id_in_the_logs_of_web_and_worker(server: Server, api_key: str) -> None:
    trace = f"trace-{uuid.uuid4().hex}"
    answer = ask(server, api_key, trace)
    assert answer.headers["X-Request-ID"] == trace
    assert any("POST /v1/chat/completions 200" in line for line in lines_with(server, "web.log", trace))
    assert any(f"{answer.json()['id']}: answered in" in line for line in lines_with(server, "worker.log", trace))


def test_a_refused_request_is_found_too(server: Server, api_key: str) -> None:
    trace = f"trace-{uuid.uuid4().hex}"
    assert ask(server, api_key, trace, messages=[{"role": "user", "content": SECRET * 4000}]).status_code == 400
    assert any("context_length_exceeded in" in line for line in lines_with(server, "worker.log", trace))


def test_neither_prompts_nor_keys_are_in_the_logs(server: Server, api_key: str) -> None:
    trace = f"trace-{uuid.uuid4().hex}"
    ask(server, api_key, trace)
    ask(server, api_key, trace, messages=[{"role": SECRET}])
    ask(server, api_key, trace, response_format={"type": "json_schema", "json_schema": {"schema": {"a": 1}}})
    ask(server, api_key[:-1] + "x", trace)
    lines_with(server, "worker.log", trace)
    for log in ("web.log", "worker.log"):
        text = (server.logs / log).read_text()
        assert SECRET not in text
        assert api_key[3:] not in text


@pytest.mark.parametrize("style", logs.STYLES)
def test_a_record_is_a_line_of_text_or_of_json(style: str) -> None:
    made = logs.configuration("INFO", style)["formatters"][style]
    formatter = logging.config.DictConfigurator({}).configure_formatter(made)
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "hello\nyou", "request_id": "r1", "n": 3})
    handler.emit(record)
    if style == "json":
        told = json.loads(output.getvalue())
        assert (told["message"], told["request_id"], told["n"], told["level"]) == ("hello\nyou", "r1", 3, "INFO")
        assert output.getvalue().count("\n") == 1
    else:
        assert output.getvalue().endswith("INFO x: hello\nyou [r1]\n")

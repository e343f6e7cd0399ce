"""The logs of web and worker: a request is found in both by its id; prompts, answers and keys are in neither."""

import json
import logging
import logging.config
import time
import uuid
from typing import Any

import httpx
import pytest
from django.conf import settings
from kombu import Connection

from inference.broker.messages import GenerateMessage
from inference.models import LanguageModel
from inference.tests.conftest import Server
from millm_site import logs
from millm_site.celery import app

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


def test_a_path_forges_no_line(server: Server) -> None:
    trace = f"trace-{uuid.uuid4().hex}"
    httpx.get(f"{server.url}/x%0A2026-01-01%20INFO%20forged%1b[2J%E2%80%A8", headers={"X-Request-ID": trace})
    found = lines_with(server, "web.log", "forged")
    assert any("millm.access: GET /x%0A2026-01-01%20INFO%20forged%1B%5B2J%E2%80%A8 404" in line for line in found)
    for line in found:
        assert trace in line
        assert line.isprintable()


def publish(body: bytes, **headers: str) -> None:
    """A message to the demo's workers that no web of ours would send."""
    queue = LanguageModel.objects.get(name="demo").queue
    with Connection(settings.CELERY_BROKER_URL) as broker, broker.channel() as channel:
        app.amqp.Producer(channel).publish(
            body, routing_key=queue, headers=headers, content_type="application/json", content_encoding="utf-8"
        )


def test_what_a_worker_cannot_take_is_not_in_its_log(server: Server) -> None:
    message = json.dumps([[{"prompts": [SECRET]}], {}, {}]).encode()
    publish(message, task="inference.other", id="1", argsrepr=SECRET)
    publish(b"\xff" + message, task="inference.generate", id="2", argsrepr=SECRET)
    publish(message[:-1], task="inference.generate", id="3")
    publish(json.dumps({"hello": SECRET}).encode())
    for why in (
        "KeyError: 'inference.other'",
        "DecodeError: 'utf-8'",
        "DecodeError: Expecting",
        "it is not in a format",
    ):
        lines_with(server, "worker.log", f"a message of the broker was dropped: {why}")
    assert SECRET not in (server.logs / "worker.log").read_text()


def test_what_a_worker_fails_on_is_not_in_its_log(server: Server) -> None:
    trace = f"trace-{uuid.uuid4().hex}"
    prompts = [{"messages": [{"role": "user", "content": SECRET}]}]
    version = LanguageModel.objects.get(name="demo").version
    whole: dict[str, Any] = dict.fromkeys(GenerateMessage.model_fields) | {
        "request_id": trace,
        "inbox": "nobody",
        "prompts": prompts,
    }
    whole |= {"version": version, "deadline": time.time() + 60, "choices": 1, "sampling": {"unknown": SECRET}}
    for broken in (whole, {"prompts": prompts}):
        message = json.dumps([[broken], {}, {}]).encode()
        publish(message, task="inference.generate", id=trace, argsrepr=SECRET)
    lines_with(server, "worker.log", f"request {trace} failed")
    lines_with(server, "worker.log", f"{trace}] raised unexpected: KeyError('inbox')")
    assert SECRET not in (server.logs / "worker.log").read_text()


def test_json_has_nothing_of_what_a_task_was_given() -> None:
    output = written("json", data={"args": SECRET}, exc_info=None)
    assert SECRET not in output
    assert json.loads(output)["n"] == 3


def written(style: str, **more: object) -> str:
    """How a record is written."""
    made = logs.configuration("INFO", style)["formatters"][style]
    formatter = logging.config.DictConfigurator({}).configure_formatter(made)
    fields = {"name": "x", "levelname": "INFO", "msg": "hello\nyou", "request_id": "r1", "n": 3}
    return formatter.format(logging.makeLogRecord(fields | more)) + "\n"


@pytest.mark.parametrize("style", logs.STYLES)
def test_a_record_is_a_line_of_text_or_of_json(style: str) -> None:
    output = written(style)
    if style == "json":
        told = json.loads(output)
        assert (told["message"], told["request_id"], told["n"], told["level"]) == ("hello\nyou", "r1", 3, "INFO")
        assert output.count("\n") == 1
    else:
        assert output.endswith("INFO x: hello\nyou [r1]\n")

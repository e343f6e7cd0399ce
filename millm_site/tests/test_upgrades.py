"""Versions that stand beside each other during an upgrade: heartbeats are read, messages understood or refused."""

import json
import time
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import pytest

from inference import tasks
from inference.broker import connections
from inference.broker.heartbeats import Heartbeat
from inference.broker.messages import GenerateMessage
from inference.interface import SamplingParams
from inference.models import LanguageModel
from inference.tests.conftest import Server

INBOX = "millm:inbox:of-another-version"
NEEDED = ("worker", "model", "status", "device", "running", "waiting", "max_requests", "generated_tokens")


def test_the_heartbeat_of_a_newer_and_of_an_older_worker_is_read() -> None:
    oldest: dict[str, Any] = dict.fromkeys(NEEDED, 0)
    assert Heartbeat.parse(json.dumps(oldest)) == Heartbeat(**oldest)
    assert Heartbeat.parse(json.dumps(oldest | {"mood": "good"})) == Heartbeat(**oldest)


def answer(queue: str, message: dict[str, Any], request_id: str, ignore: Collection[str] = ()) -> dict[str, Any]:
    """What a worker says to a message: its first event but those to ignore."""
    tasks.generate.apply_async(args=(message | {"request_id": request_id, "inbox": INBOX},), queue=queue)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for _entry, fields in connections.connection.xrange(INBOX):
            for asked, kind, data in json.loads(fields["events"]):
                if asked == request_id and kind not in ignore:
                    return {"kind": kind, **data}
        time.sleep(0.05)
    raise AssertionError(f"nothing is said to {request_id}")


MESSAGE = {
    "prompts": [{"text": "Tell me"}],
    "choices": 1,
    "steering": None,
    "sampling": asdict(SamplingParams()),
    "max_tokens": 4,
}


def test_a_request_that_lacks_what_a_later_version_adds_is_answered(server: Server) -> None:
    model = LanguageModel.objects.get(name="demo")
    message = MESSAGE | {"version": model.version, "deadline": time.time() + 10}
    may_lack = {name for name, field in GenerateMessage.model_fields.items() if not field.is_required()}
    of_tools = {"parsed", "tools", "tool_choice", "parallel_tool_calls", "answer_form"}
    assert may_lack == {"stop", "top_logprobs", "answer_schema", "echo", "template", "reading"} | of_tools
    assert not message.keys() & may_lack
    assert answer(model.queue, message, "of-an-older-web", ignore={"claimed"})["kind"] == "started"


@pytest.mark.parametrize("other", ["mood", "steering", "version", "deadline"])
def test_a_request_in_a_form_that_the_worker_does_not_know_fails_at_once(server: Server, other: str) -> None:
    model = LanguageModel.objects.get(name="demo")
    message = MESSAGE | {"version": model.version, "deadline": time.time() + 10}
    message = message | {other: "good"} if other not in message else message
    if other != "mood":
        del message[other]
    said = answer(model.queue, message, f"other-{other}")
    assert (said["kind"], said["code"]) == ("failed", "no_worker")
    assert "upgraded before the web" in said["message"]

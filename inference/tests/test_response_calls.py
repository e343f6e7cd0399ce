"""Calls of functions and reasoning in responses: a scripted model makes them, and gets their results."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.broker import heartbeats
from inference.models import LanguageModel
from inference.tests import test_clients
from inference.tests.calling_model import LOOK, TIDE, save
from inference.tests.conftest import Server
from inference.tests.response_streams import kinds, stream
from inference.tests.test_loading import eventually

ASKED = {"role": "user", "content": "start"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("calling") / "calling"
    save(made)
    return made


@pytest.fixture(scope="module")
def worker(processes: Server, folder: Path, django_db_blocker: Any) -> Iterator[Any]:
    with django_db_blocker.unblock():
        LanguageModel.objects.register(str(folder), anywhere=True)
    started = processes.start_worker(INFERENCE_MODEL="calling")
    yield started
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 0


@pytest.fixture
def client(server: Server, api_key: str, worker: Any, folder: Path) -> Iterator[httpx.Client]:
    if not LanguageModel.objects.filter(name="calling").exists():
        LanguageModel.objects.register(str(folder), anywhere=True)
    eventually(lambda: any(beat.serves("calling") for beat in heartbeats.live_workers()))
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def body(given: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "calling", "input": given, "tools": [LOOK, TIDE], "temperature": 0} | fields


def create(client: httpx.Client, given: Any, **fields: Any) -> dict[str, Any]:
    answer = client.post("/responses", json=body(given, **fields))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def streamed(client: httpx.Client, given: Any, **fields: Any) -> dict[str, Any]:
    events = stream(client, **body(given, **fields))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    last: dict[str, Any] = events[-1]["response"]
    assert done == last["output"]
    return last


def result(call: dict[str, Any], output: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call["call_id"], "output": output}


def shown(response: dict[str, Any]) -> list[Any]:
    """Each item in short."""
    return [
        {item["name"]: json.loads(item["arguments"])}
        if item["type"] == "function_call"
        else {item["type"]: "".join(part["text"] for part in item["content"])}
        for item in response["output"]
    ]


FIRST = [{"message": "Let me look."}, {"look": {"at": "né 🌊"}}]
SECOND = [{"reasoning": "Hm, a tide."}, {"tide": {"hours": [1, 2]}}, {"look": {"at": "x"}}]
THIRD = [{"message": "All done."}]


@pytest.mark.parametrize("make", [create, streamed])
def test_calls_and_their_results_go_round_with_stored_responses(client: httpx.Client, make: Any) -> None:
    first = make(client, "start")
    assert shown(first) == FIRST
    second = make(client, [result(first["output"][1], "seen")], previous_response_id=first["id"])
    assert shown(second) == SECOND
    usage = second["usage"]
    assert 0 < usage["output_tokens_details"]["reasoning_tokens"] < usage["output_tokens"]
    results = [result(second["output"][1], "low"), result(second["output"][2], "back")]
    third = make(client, results, previous_response_id=second["id"])
    assert shown(third) == THIRD
    assert third["status"] == "completed"


@pytest.mark.parametrize("make", [create, streamed])
def test_calls_and_their_results_go_round_with_items_alone(client: httpx.Client, make: Any) -> None:
    items: list[Any] = [ASKED]
    for expected, outputs in ((FIRST, ["seen"]), (SECOND, ["low", "back"]), (THIRD, [])):
        response = make(client, items, store=False)
        assert shown(response) == expected
        calls = [item for item in response["output"] if item["type"] == "function_call"]
        results = [result(call, output) for call, output in zip(calls, outputs, strict=True)]
        items += [*response["output"], *results]


def test_a_stream_has_the_arguments_of_a_call(client: httpx.Client) -> None:
    events = stream(client, **body("again"))
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]
    assert "".join(event["delta"] for event in events if "delta" in event) == events[4]["arguments"]


def test_one_call_ends_the_answer_where_parallel_calls_are_off(client: httpx.Client) -> None:
    assert shown(create(client, "seen", parallel_tool_calls=False)) == SECOND[:2]


def test_without_tools_a_call_is_text(client: httpx.Client) -> None:
    [item] = create(client, "again", tools=[])["output"]
    assert item["content"][0]["text"].startswith("<tool_call>")


def test_an_answer_that_is_cut_in_its_reasoning_has_no_message(client: httpx.Client) -> None:
    response = create(client, "seen", max_output_tokens=3)
    assert [(item["type"], item["status"]) for item in response["output"]] == [("reasoning", "incomplete")]
    assert response["status"] == "incomplete"


def test_a_stored_call_is_listed_with_its_result(client: httpx.Client) -> None:
    first = create(client, "start")
    second = create(client, [result(first["output"][1], "seen")], previous_response_id=first["id"])
    listed = client.get(f"/responses/{second['id']}/input_items", params={"order": "asc"}).json()["data"]
    assert [item["type"] for item in listed] == ["message", "message", "function_call", "function_call_output"]
    assert listed[1:3] == first["output"]


def test_agents_use_two_tools_over_three_turns(client: httpx.Client, api_key: str) -> None:
    own = {"MILLM_URL": str(client.base_url), "MILLM_KEY": api_key}
    command = [test_clients.python_of("agents"), str(test_clients.SCRIPTS / "agents_client.py")]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr + done.stdout

"""Responses that end otherwise than by their last token: refused, cancelled, failed, left by their client."""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from inference.responses.models import StoredResponse
from inference.tests.conftest import Server
from inference.tests.response_streams import checked, kinds
from inference.tests.test_load import running, wait_for

LONG = {
    "model": "demo",
    "input": "Tell me something.",
    "stream": True,
    "max_output_tokens": 3000,
    "temperature": 2.0,
    "logit_bias": {"1": -100, "2": -100, "3": -100},  # the ends, so that it goes on
}


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def during(client: httpx.Client, does: Callable[[str], None], **fields: Any) -> list[dict[str, Any]]:
    """The events of a long stream, during which `does` is called with the id of the response, once there is text."""
    wait_for(lambda: running() == 0, 30)
    lines: list[str] = []
    with client.stream("POST", "/responses", json=LONG | fields) as answer:
        for line in answer.iter_lines():
            lines.append(line)
            if line == "event: response.output_text.delta" and lines.count(line) == 1:
                does(json.loads(lines[1].removeprefix("data: "))["response"]["id"])
    return checked(lines)


def test_a_stream_is_shown_while_it_is_in_progress(client: httpx.Client) -> None:
    seen: list[Any] = []

    def look(response_id: str) -> None:
        seen.append(client.get(f"/responses/{response_id}").json())
        body = LONG | {"previous_response_id": response_id, "stream": False}
        seen.append(client.post("/responses", json=body).json()["error"]["code"])
        client.post(f"/responses/{response_id}/cancel")

    during(client, look)
    shown, refused = seen
    assert (shown["status"], shown["output"], refused) == ("in_progress", [], "response_unfinished")


def test_a_response_is_cancelled_by_its_id(client: httpx.Client) -> None:
    told: list[httpx.Response] = []
    events = during(client, lambda response_id: told.append(client.post(f"/responses/{response_id}/cancel")))
    assert (told[0].status_code, told[0].json()["status"]) == (200, "cancelled")
    wait_for(lambda: running() == 0, 5)
    assert kinds(events)[-1] == "failed"
    last = events[-1]["response"]
    assert (last["status"], last["error"]) == ("cancelled", None)
    shown = client.get(f"/responses/{last['id']}").json()
    assert (shown["status"], shown["output"]) == ("cancelled", last["output"])
    assert shown["output"][0]["content"][0]["text"]
    again = client.post(f"/responses/{last['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_what_has_ended_is_not_cancelled(client: httpx.Client) -> None:
    body = {"model": "demo", "input": "x", "max_output_tokens": 2}
    response = client.post("/responses", json=body).json()
    refused = client.post(f"/responses/{response['id']}/cancel")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "nothing_to_cancel")


@pytest.mark.parametrize("stores", [True, False])
def test_a_client_that_goes_away_frees_its_place_and_its_response_is_cancelled(
    client: httpx.Client, stores: bool
) -> None:
    wait_for(lambda: running() == 0, 30)
    with client.stream("POST", "/responses", json=LONG | {"store": stores}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: response.created"
        created = json.loads(next(lines).removeprefix("data: "))["response"]
        wait_for(lambda: running() == 1, 20)
    wait_for(lambda: running() == 0, 5)
    if stores:
        wait_for(lambda: StoredResponse.objects.get(pk=created["id"]).status == "cancelled", 5)
    else:
        assert not StoredResponse.objects.exists()


def test_a_worker_that_dies_ends_a_stream_with_an_error_and_the_response_has_failed(
    server: Server, client: httpx.Client
) -> None:
    def kill(_response_id: str) -> None:
        server.worker.send_signal(signal.SIGKILL)
        server.worker.wait(timeout=30)

    events = during(client, kill)
    assert kinds(events)[-2:] == ["error", "failed"]
    assert events[-2]["code"] == "worker_lost"
    last = events[-1]["response"]
    assert (last["status"], last["error"]["code"]) == ("failed", "server_error")
    shown = client.get(f"/responses/{last['id']}").json()
    assert (shown["status"], shown["error"]) == ("failed", last["error"])
    server.worker = server.start_worker()
    server.wait_for_heartbeat()


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"input": []}, 400, "invalid_request", "input"),
        ({"input": [{"type": "web_search_call"}]}, 400, "invalid_request", "input.0"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, 400, "invalid_request", "input"),
        ({"input": "word " * 5000}, 400, "context_length_exceeded", "input"),
        ({"max_output_tokens": 10**6}, 400, "context_length_exceeded", "input"),
        ({"background": True}, 400, "unsupported_parameter", "background"),
        ({"truncation": "auto"}, 400, "unsupported_parameter", "truncation"),
        ({"conversation": "conv_1"}, 400, "unsupported_parameter", "conversation"),
        ({"tools": [{"type": "web_search"}]}, 400, None, None),
        ({"logit_bias": {"99999": 1}}, 400, "invalid_request", "logit_bias"),
        ({"profile": "nobody"}, 404, "profile_not_found", "profile"),
        ({"previous_response_id": "resp_1"}, 404, "previous_response_not_found", "previous_response_id"),
    ],
)
def test_a_bad_request_is_refused_with_the_field_and_a_code_and_stores_nothing(
    client: httpx.Client, fields: Any, status: int, code: str | None, param: str | None
) -> None:
    for streams in (False, True):
        body = {"model": "demo", "input": "x", "stream": streams} | fields
        answer = client.post("/responses", json=body)
        error = answer.json()["error"]
        assert {*error} == {"message", "type", "param", "code"}
        assert answer.status_code == status, answer.text
        if code:
            assert (error["code"], error["param"]) == (code, param), answer.text
    assert not StoredResponse.objects.exists()


def test_unknown_fields_are_refused_where_the_client_is_strict(client: httpx.Client) -> None:
    body = {"model": "demo", "input": "x", "max_output_tokens": 1, "colour": "red"}
    assert client.post("/responses", json=body).status_code == 200
    refused = client.post("/responses", json=body, headers={"X-miLLM-Strict": "true"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "colour")


def test_any_characters_are_stored(client: httpx.Client) -> None:
    body = {"model": "demo", "input": "a\0b 😀", "max_output_tokens": 1, "metadata": {"a": "\0"}}
    response = client.post("/responses", json=body).json()
    [item] = client.get(f"/responses/{response['id']}/input_items").json()["data"]
    assert item["content"][0]["text"] == "a\0b 😀"


def test_a_key_is_required(server: Server) -> None:
    url = f"{server.url}/v1/responses"
    answers = [httpx.post(url), httpx.get(f"{url}/resp_1"), httpx.post(f"{url}/resp_1/cancel")]
    assert [answer.status_code for answer in answers] == [401] * 3

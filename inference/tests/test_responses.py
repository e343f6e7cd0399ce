"""The Responses API over HTTP, as the `openai` package sees it: whole, streamed, steered, gone on from, deleted."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import openai
import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from openai.types.responses import Response

from inference.demo.tiny.measure import shares
from inference.responses.models import StoredResponse
from inference.tests.conftest import Server
from inference.tests.response_streams import kinds, stream
from millm_site.models import APIKey
from profiles.models import Profile

TELL = "Tell me something."


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


@pytest.fixture
def sdk(server: Server, api_key: str) -> Any:
    """The client of the `openai` package."""
    return server.openai(api_key)


def create(client: httpx.Client, given: Any = TELL, **fields: Any) -> dict[str, Any]:
    """A response, checked by the types of `openai`."""
    answer = client.post("/responses", json={"model": "demo", "input": given, "temperature": 0} | fields)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    Response.model_validate(found, strict=True)
    return found


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", []))


def chat(client: httpx.Client, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"model": "demo", "messages": messages, "temperature": 0} | fields
    found: dict[str, Any] = client.post("/chat/completions", json=body).json()
    return found


# --- an answer ---


def test_a_response_says_what_a_chat_says(client: httpx.Client) -> None:
    response, plain = create(client), chat(client, {"role": "user", "content": TELL})
    assert text_of(response) == plain["choices"][0]["message"]["content"]
    assert (response["status"], response["model"], response["error"]) == ("completed", "demo", None)
    usage = response["usage"]
    assert usage["input_tokens"] == plain["usage"]["prompt_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert response["temperature"] == 0
    assert response["system_fingerprint"] == plain["system_fingerprint"]


def test_instructions_and_items_are_the_messages_of_a_chat(client: httpx.Client) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello."}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "The sea is calm."}]},
        {"role": "user", "content": TELL},
    ]
    plain = chat(
        client,
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "The sea is calm."},
        {"role": "user", "content": TELL},
    )
    response = create(client, items, instructions="Be brief.")
    assert text_of(response) == plain["choices"][0]["message"]["content"]
    assert response["usage"]["input_tokens"] == plain["usage"]["prompt_tokens"]


def test_a_stream_has_the_response_that_is_made_whole(client: httpx.Client) -> None:
    whole = create(client, seed=7, temperature=1)
    events = stream(client, input=TELL, seed=7)
    assert kinds(events)[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds(events)[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert {*kinds(events)[4:-4]} == {"output_text.delta"}
    last = events[-1]["response"]
    assert "".join(event["delta"] for event in events if "delta" in event) == text_of(last) == text_of(whole)
    assert {event["response"]["id"] for event in events if "response" in event} == {last["id"]}
    assert last["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert client.get(f"/responses/{last['id']}").json() == last


def test_a_limit_makes_it_incomplete(client: httpx.Client) -> None:
    response = create(client, max_output_tokens=3)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["usage"]["output_tokens"] == 3
    assert response["output"][0]["status"] == "incomplete"
    assert stream(client, input=TELL, max_output_tokens=3)[-1]["type"] == "response.incomplete"


def test_a_schema_holds_the_text(client: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    response = create(client, text={"format": form}, max_output_tokens=100)
    assert {*json.loads(text_of(response))} == {"a"}
    assert response["text"]["format"] == form
    refused = client.post(
        "/responses", json={"model": "demo", "input": "x", "text": {"format": form | {"schema": {"type": "thing"}}}}
    )
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "text.format")
    assert "text.format" in error["message"]


def test_log_probabilities_come_with_the_text(client: httpx.Client) -> None:
    asked: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 6}
    entries = create(client, **asked)["output"][0]["content"][0]["logprobs"]
    assert len(entries) == 6
    assert all(len(entry["top_logprobs"]) == 2 and entry["logprob"] <= 0 for entry in entries)
    events = stream(client, input=TELL, temperature=0, **asked)
    streamed = [one["token"] for event in events if event["type"].endswith("delta") for one in event["logprobs"]]
    assert streamed == [entry["token"] for entry in entries]


# --- steering ---


def test_steering_is_chosen_as_in_chats(client: httpx.Client) -> None:
    texts = [text_of(create(client, model="demo:ocean", temperature=1, seed=seed)) for seed in range(12)]
    assert shares(texts, "ocean").on_topic >= 0.6
    answer = client.post("/responses", json={"model": "demo:ocean", "input": TELL, "max_output_tokens": 2})
    assert answer.headers["X-miLLM-Profile"] == "ocean"
    assert answer.headers["X-miLLM-Steering"] != "none"
    assert 'name="ocean"' in answer.headers["X-miLLM-Steering-Profile"]
    own = client.post("/responses", json={"model": "demo", "input": TELL, "steering": {"features": {"1": 4.0}}})
    assert own.headers["X-miLLM-Steering"] != "none"


def test_a_profile_is_activated_when_the_response_begins(client: httpx.Client) -> None:
    create(client, profile="ocean", max_output_tokens=2)
    active = Profile.objects.active()
    assert active is not None
    assert active.name == "ocean"
    refused = client.post("/responses", json={"model": "demo", "input": TELL, "profile": "space", "background": True})
    assert refused.status_code == 400
    assert Profile.objects.active() == active


def test_details_of_the_answer_are_in_the_response_and_in_the_last_event(client: httpx.Client) -> None:
    asked = {"activations": {"top_k": 2}, "max_output_tokens": 4}
    response = create(client, **asked)
    assert response["millm"]["activations"]["choices"][0]["index"] == 0
    last = stream(client, input=TELL, temperature=0, **asked)[-1]["response"]
    assert last["millm"]["activations"] == response["millm"]["activations"]


# --- stored ---


def test_three_turns_go_on_from_each_other_without_the_instructions(client: httpx.Client) -> None:
    first = create(client, "Hello.", instructions="Be brief.", max_output_tokens=8)
    second = create(client, "And?", previous_response_id=first["id"], max_output_tokens=8)
    [last] = [
        event["response"]
        for event in stream(
            client, input="More.", previous_response_id=second["id"], instructions="Rhyme.", max_output_tokens=8, seed=1
        )
        if event["type"] == "response.incomplete"
    ]
    messages = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "And?"},
    ]
    plain = chat(client, *messages, max_tokens=8)
    assert plain["usage"]["prompt_tokens"] == second["usage"]["input_tokens"]
    assert plain["choices"][0]["message"]["content"] == text_of(second)
    later = [{"role": "assistant", "content": text_of(second)}, {"role": "user", "content": "More."}]
    plain = chat(client, {"role": "system", "content": "Rhyme."}, *messages, *later, max_tokens=8)
    assert plain["usage"]["prompt_tokens"] == last["usage"]["input_tokens"]
    assert last["previous_response_id"] == second["id"]


def test_the_package_reads_lists_and_deletes(sdk: Any) -> None:
    first = sdk.responses.create(model="demo", input="Hello.", max_output_tokens=4, metadata={"topic": "sea"})
    second = sdk.responses.create(model="demo", input=TELL, previous_response_id=first.id, max_output_tokens=4)
    read = sdk.responses.retrieve(second.id)
    assert (read.output_text, read.previous_response_id) == (second.output_text, first.id)
    assert sdk.responses.retrieve(first.id).metadata == {"topic": "sea"}
    for order in ("asc", "desc"):
        pages = [*sdk.responses.input_items.list(second.id, limit=1, order=order)]  # page by page
        roles = [item.role for item in pages]
        assert roles == ["user", "assistant", "user"]
        texts = [item.content[0].text for item in pages]
        assert texts == ["Hello.", first.output_text, TELL][:: 1 if order == "asc" else -1]
    sdk.responses.delete(first.id)
    for gone in (sdk.responses.retrieve, sdk.responses.delete, sdk.responses.input_items.list, sdk.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            gone(first.id)
    with pytest.raises(openai.NotFoundError) as refused:
        sdk.responses.create(model="demo", input=TELL, previous_response_id=second.id)
    assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")
    assert [item.content[0].text for item in sdk.responses.input_items.list(second.id)] == [TELL]


def test_the_package_streams(sdk: Any) -> None:
    with sdk.responses.stream(model="demo", input=TELL, temperature=0) as events:
        texts = [event.delta for event in events if event.type == "response.output_text.delta"]
        final = events.get_final_response()
    assert "".join(texts) == final.output_text
    assert sdk.responses.retrieve(final.id).output_text == final.output_text


def test_an_item_is_sent_again_by_its_id(client: httpx.Client) -> None:
    first = create(client, "Hello.", max_output_tokens=8)
    [item] = first["output"]
    [asked] = client.get(f"/responses/{first['id']}/input_items").json()["data"]
    again = [{"type": "item_reference", "id": one["id"]} for one in (asked, item)]
    referred = create(client, [*again, {"role": "user", "content": "And?"}], max_output_tokens=8)
    followed = create(client, "And?", previous_response_id=first["id"], max_output_tokens=8)
    assert text_of(referred) == text_of(followed)
    unknown = client.post("/responses", json={"model": "demo", "input": [{"type": "item_reference", "id": "msg_x"}]})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "item_not_found")


def test_what_is_not_stored_is_not_found(client: httpx.Client) -> None:
    whole = create(client, store=False, max_output_tokens=2)
    streamed = stream(client, input=TELL, store=False, max_output_tokens=2)[-1]["response"]
    for response in (whole, streamed):
        assert response["store"] is False
        assert client.get(f"/responses/{response['id']}").status_code == 404
    assert not StoredResponse.objects.exists()
    refused = client.post("/responses", json={"model": "other", "input": TELL})
    assert refused.status_code == 404
    assert not StoredResponse.objects.exists()


def test_an_expired_response_is_not_found(client: httpx.Client) -> None:
    response = create(client, max_output_tokens=2)
    StoredResponse.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(f"/responses/{response['id']}").status_code == 404
    body = {"model": "demo", "input": TELL, "previous_response_id": response["id"]}
    assert client.post("/responses", json=body).status_code == 404


def test_a_response_of_somebody_else_is_not_found(server: Server, client: httpx.Client) -> None:
    response = create(client, max_output_tokens=2)
    other = get_user_model().objects.create_superuser("other", password="x")
    key = APIKey.objects.create(other, name="other")[1]
    path = f"{server.url}/v1/responses"
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as foreign:
        answers = [
            foreign.get(f"{path}/{response['id']}"),
            foreign.delete(f"{path}/{response['id']}"),
            foreign.get(f"{path}/{response['id']}/input_items"),
            foreign.post(f"{path}/{response['id']}/cancel"),
            foreign.post(path, json={"model": "demo", "input": "x", "previous_response_id": response["id"]}),
            foreign.post(path, json={"model": "demo", "input": [{"id": response["output"][0]["id"]}]}),
        ]
    assert [answer.status_code for answer in answers] == [404] * 6
    assert client.get(f"/responses/{response['id']}").status_code == 200


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "msg_x"}, "after"),
        ({"before": "msg_x"}, "before"),
        ({"include": "web_search_call.results"}, "include.0"),
    ],
)
def test_a_wrong_query_is_named(client: httpx.Client, query: Any, param: str) -> None:
    response = create(client, max_output_tokens=2)
    answer = client.get(f"/responses/{response['id']}/input_items", params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_stored_response_is_not_streamed_again(client: httpx.Client) -> None:
    response = create(client, max_output_tokens=2)
    for query, param in (({"stream": "true"}, "stream"), ({"starting_after": "3"}, "starting_after")):
        answer = client.get(f"/responses/{response['id']}", params=query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    known = {"stream": "false", "include[]": "message.output_text.logprobs"}
    assert client.get(f"/responses/{response['id']}", params=known).status_code == 200

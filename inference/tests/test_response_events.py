"""The events of a response's stream, of parts that a worker reports; each is valid by the types of `openai`."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import pytest
from openai.types.responses import Response

from inference.broker.errors import RequestFailed
from inference.broker.exchange import Call, current_call
from inference.interface import Event
from inference.openai.generation import Generation
from inference.openai.selection import Selection
from inference.responses.answer import ResponseAnswer
from inference.responses.ids import new_response_id
from inference.responses.keeping import Keeping
from inference.responses.models import StoredResponse
from inference.responses.request import ResponseRequest
from inference.responses.stream import streamed
from inference.tests.response_streams import checked, kinds

STARTED = ("started", {"prompt_tokens": 5, "cached_tokens": 2})
FINISHED = ("finished", {"reason": "stop", "completion_tokens": 3, "reasoning_tokens": 1})
CUT = ("finished", {"reason": "length", "completion_tokens": 3})


def content(text: str) -> dict[str, Any]:
    return {"kind": "content", "text": text}


def reasoning(text: str) -> dict[str, Any]:
    return {"kind": "reasoning", "text": text}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"kind": "call", "name": name, "arguments": json.dumps(arguments)}


def delta(*parts: dict[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    text = "".join(part["text"] for part in parts if part["kind"] == "content")
    return "delta", {"text": text, "token_ids": [1], "parts": [*parts], **more}


def answer_to(**fields: Any) -> ResponseAnswer:
    asked = ResponseRequest.parse(json.dumps({"model": "m", "input": "x", "store": False} | fields).encode())
    selection = Selection("m", "m", "v", "q", steering=None, profile=None)
    return ResponseAnswer(asked, Generation(new_response_id(), selection, 1, events_of([])))


async def events_of(reported: Iterable[Any]) -> AsyncGenerator[Event]:
    for one in reported:
        if isinstance(one, Exception):
            raise one
        kind, data = one
        yield Event("r", kind, {"index": 0, **data})


def stream(*reported: Any, **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream, checked by their types and numbers."""

    async def read() -> bytes:
        current_call.set(Call())
        answer, events = answer_to(**fields), events_of(reported)
        keeping = Keeping(StoredResponse(), answer, stores=False)
        return b"".join([piece async for piece in streamed(answer, await anext(events), events, keeping)])

    return checked(asyncio.run(read()).decode().splitlines())


TEXT = ["output_item.added", "content_part.added", "output_text.delta"]
END = ["output_text.done", "content_part.done", "output_item.done"]


def test_a_text_is_a_message_with_one_part() -> None:
    events = stream(STARTED, delta(content("Hel")), delta(content("lo")), FINISHED)
    assert kinds(events) == ["created", "in_progress", *TEXT, "output_text.delta", *END, "completed"]
    assert events[0]["response"]["status"] == events[1]["response"]["status"] == "in_progress"
    assert "".join(event["delta"] for event in events if "delta" in event) == "Hello"
    last = events[-1]["response"]
    assert last["status"] == "completed"
    assert last["output"][0]["content"][0]["text"] == "Hello"
    assert last["output"] == [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert last["usage"]["input_tokens"] == 5
    assert last["usage"]["input_tokens_details"]["cached_tokens"] == 2
    assert last["usage"]["output_tokens_details"]["reasoning_tokens"] == 1
    assert last["usage"]["total_tokens"] == 7


def test_an_answer_that_is_not_parsed_is_text() -> None:
    plain = ("delta", {"text": "Hi", "token_ids": [1]})
    assert stream(STARTED, plain, FINISHED)[-1]["response"]["output"][0]["content"][0]["text"] == "Hi"


def test_an_empty_answer_has_an_empty_message() -> None:
    events = stream(STARTED, FINISHED)
    assert kinds(events) == ["created", "in_progress", *TEXT[:2], *END, "completed"]
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_reasoning_text_and_calls_are_items_of_their_own_in_the_order_of_the_answer() -> None:
    parts = [reasoning("Hm"), reasoning("m."), content("I "), content("look."), call("a", x=1), call("b", y="ü")]
    for deltas in ([delta(part) for part in parts], [delta(*parts)], [delta(*parts[:3]), delta(*parts[3:])]):
        events = stream(STARTED, *deltas, FINISHED)
        last = events[-1]["response"]
        assert [item["type"] for item in last["output"]] == ["reasoning", "message", "function_call", "function_call"]
        assert last["output"][0]["content"] == [{"type": "reasoning_text", "text": "Hmm."}]
        assert last["output"][1]["content"][0]["text"] == "I look."
        assert [json.loads(item["arguments"]) for item in last["output"][2:]] == [{"x": 1}, {"y": "ü"}]
        assert len({item["call_id"] for item in last["output"][2:]}) == 2
        assert len({item["id"] for item in last["output"]}) == 4
        done = [event for event in events if event["type"] == "response.output_item.done"]
        assert [event["output_index"] for event in done] == [0, 1, 2, 3]
        assert [event["item"] for event in done] == last["output"]


def test_arguments_of_a_call_come_as_a_delta_and_whole() -> None:
    events = stream(STARTED, delta(call("a", x=1)), FINISHED)
    assert kinds(events)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    added, *_, done = events[2:-1]
    assert (added["item"]["arguments"], added["item"]["status"]) == ("", "in_progress")
    assert (done["item"]["arguments"], done["item"]["status"]) == ('{"x": 1}', "completed")
    assert added["item"]["call_id"] == done["item"]["call_id"]


@pytest.mark.parametrize("part", [content("a"), reasoning("a")])
def test_an_answer_that_is_cut_is_incomplete_with_its_last_item(part: dict[str, Any]) -> None:
    events = stream(STARTED, delta(part), CUT)
    last = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert [item["status"] for item in last["output"]] == ["incomplete"]
    assert last["usage"]["output_tokens"] == 1
    assert last["completed_at"] is None


def test_log_probabilities_are_those_of_the_text_alone() -> None:
    def known(*tokens: str) -> dict[str, Any]:
        return {
            "logprobs": [
                {"token": one, "bytes": [*one.encode()], "logprob": -1.0, "top_logprobs": []} for one in tokens
            ]
        }

    events = stream(
        STARTED,
        delta(reasoning("Hm"), **known("Hm")),
        delta(**known("<")),  # the parser waits: it may be the beginning of a tag
        delta(content("<b"), **known("b")),
        delta(**known("<call>")),
        delta(call("f"), **known("</call>")),
        delta(content("!"), **known("!")),
        delta(**known("<end>")),
        FINISHED,
        include=["message.output_text.logprobs"],
    )
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [[one["token"] for one in event["logprobs"]] for event in deltas] == [["<", "b"], ["!"], ["<end>"]]
    texts = [item for item in events[-1]["response"]["output"] if item["type"] == "message"]
    assert [[one["token"] for one in item["content"][0]["logprobs"]] for item in texts] == [["<", "b"], ["!", "<end>"]]


def test_a_stream_that_fails_ends_with_an_error_and_what_there_is() -> None:
    lost = RequestFailed("worker_lost", "The worker died.")
    events = stream(STARTED, delta(reasoning("Hm")), delta(content("So")), lost)
    assert kinds(events)[-2:] == ["error", "failed"]
    assert (events[-2]["code"], events[-2]["message"]) == ("worker_lost", "The worker died.")
    last = events[-1]["response"]
    assert (last["status"], last["error"]["code"]) == ("failed", "server_error")
    assert last["error"]["message"] == "The worker died."
    assert [item["status"] for item in last["output"]] == ["completed", "incomplete"]


def test_a_cancelled_stream_ends_without_an_error() -> None:
    events = stream(STARTED, delta(content("So")), RequestFailed("cancelled", "The request was cancelled."))
    assert kinds(events)[-2:] == ["output_text.delta", "failed"]
    assert (events[-1]["response"]["status"], events[-1]["response"]["error"]) == ("cancelled", None)


def test_a_silence_is_a_comment() -> None:
    waiting: tuple[str, dict[str, Any]] = ("waiting", {})
    assert kinds(stream(waiting, STARTED, waiting, delta(content("a")), FINISHED))[-1] == "completed"


def test_a_whole_response_is_what_the_last_event_has() -> None:
    reported = [STARTED, delta(reasoning("Hm"), content("So")), delta(call("f", a=[1])), FINISHED]
    last = stream(*reported)[-1]["response"]
    answer = answer_to()
    for kind, data in reported:
        answer.add(Event("r", kind, data))
    whole = answer.as_json()
    Response.model_validate(whole, strict=True)
    assert [item["type"] for item in whole["output"]] == [item["type"] for item in last["output"]]
    assert whole["usage"] == last["usage"]
    assert {*whole} == {*last}

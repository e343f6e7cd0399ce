"""The items of a request become the messages of a chat template, and the items that are listed."""

import json
from typing import Any

import pytest
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from inference.openai.errors import OpenAIError
from inference.responses.conversation import UnknownCall
from inference.responses.ids import new_response_id, response_of
from inference.responses.request import ResponseRequest

ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)
ID = new_response_id()
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "2"}
THOUGHT = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
ASKED = {"role": "user", "content": "1+1?"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def asked(given: Any, **fields: Any) -> ResponseRequest:
    return ResponseRequest.parse(json.dumps({"model": "m", "input": given} | fields).encode())


def messages(given: Any, history: Any = (), **fields: Any) -> list[dict[str, Any]]:
    request = asked(given, **fields)
    request.place(ID, history, {})
    [prompt] = request.prompts
    return prompt["messages"]


def items(given: Any, history: Any = ()) -> list[dict[str, Any]]:
    listed = asked(given).place(ID, history, {})
    for item in listed:
        ITEM.validate_python(item)
    return listed


def refusal(given: Any) -> OpenAIError:
    with pytest.raises(OpenAIError) as error:
        asked(given)
    assert error.value.status == 400
    return error.value


def test_a_text_is_a_message_of_the_user() -> None:
    assert messages("Hi") == messages([{"role": "user", "content": "Hi"}]) == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("role", ["user", "system", "developer", "assistant"])
def test_parts_of_a_message_are_one_text(role: str) -> None:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": kind, "text": "a"}, {"type": kind, "text": "b", "annotations": [], "logprobs": []}]
    for message in ({"role": role, "content": parts}, {"type": "message", "role": role, "content": parts, "id": "x"}):
        assert messages([message]) == [{"role": role, "content": "ab"}]


def test_a_refusal_of_an_answer_is_its_text() -> None:
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert messages([refused]) == [{"role": "assistant", "content": "No."}]
    assert items([refused])[0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_reasoning_text_and_calls_of_one_answer_are_one_message() -> None:
    text = {"role": "assistant", "content": "I add."}
    answer = {"role": "assistant", "content": "I add.", "reasoning_content": "Hm.", "tool_calls": [CALLED]}
    result = {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"}
    assert messages([ASKED, THOUGHT, text, CALL, RESULT]) == [ASKED, answer, result]
    silent = {"role": "assistant", "content": "", "tool_calls": [CALLED, CALLED | {"id": "c2"}]}
    assert messages([ASKED, CALL, CALL | {"call_id": "c2"}]) == [ASKED, silent]
    assert messages([ASKED, THOUGHT, CALL])[1] == silent | {"reasoning_content": "Hm.", "tool_calls": [CALLED]}


def test_answers_of_several_turns_stay_apart() -> None:
    said = {"role": "assistant", "content": "2"}
    assert messages([ASKED, CALL, RESULT, said, ASKED, CALL]) == [
        ASKED,
        {"role": "assistant", "content": "", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "2"},
        said,
        ASKED,
        {"role": "assistant", "content": "", "tool_calls": [CALLED]},
    ]


def test_reasoning_that_nothing_follows_is_kept() -> None:
    assert messages([ASKED, THOUGHT, ASKED])[1] == {"role": "assistant", "content": "", "reasoning_content": "Hm."}


def test_a_summary_stands_for_reasoning_without_a_text() -> None:
    summarised = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "So."}]}
    assert messages([summarised])[0]["reasoning_content"] == "So."


def test_a_result_may_have_parts() -> None:
    parts = {**RESULT, "output": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}
    assert messages([CALL, parts])[1]["content"] == "ab"


def test_a_result_without_its_call_is_refused() -> None:
    with pytest.raises(UnknownCall, match="'c1'"):
        messages([RESULT, CALL])
    assert messages([RESULT], history=items([CALL]))[1]["role"] == "tool"


def test_instructions_come_first_and_take_in_a_first_message_of_the_system() -> None:
    system, told = {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Rhyme."}
    assert messages([ASKED], instructions="Be brief.") == [system, ASKED]
    assert messages([told, ASKED], instructions="Be brief.") == [
        {"role": "system", "content": "Be brief.\n\nRhyme."},
        ASKED,
    ]
    assert messages([ASKED, told], instructions="Be brief.") == [system, ASKED, told]
    assert messages([ASKED], instructions="") == [ASKED]


def test_a_conversation_goes_before_the_request_and_after_the_instructions() -> None:
    earlier = items([{"role": "user", "content": "Hi"}])
    assert [one["content"] for one in messages("More", earlier, instructions="Be brief.")] == [
        "Be brief.",
        "Hi",
        "More",
    ]


# --- as they are listed ---


def test_listed_items_are_valid_and_have_ids_that_name_their_response() -> None:
    listed = items([ASKED, {"role": "assistant", "content": "2"}, THOUGHT, CALL, RESULT])
    assert [item["id"].split("_")[0] for item in listed] == ["msg", "msg", "rs", "fc", "fco"]
    assert {response_of(item["id"]) for item in listed} == {ID}
    assert len({item["id"] for item in listed}) == 5
    assert listed[0]["content"] == [{"type": "input_text", "text": "1+1?"}]
    assert listed[1]["content"] == [{"type": "output_text", "text": "2", "annotations": []}]


def test_ids_are_kept_unless_the_conversation_has_them() -> None:
    own = ASKED | {"id": "msg_own"}
    assert [item["id"] for item in items([own])] == ["msg_own"]
    first, second = items([own, own])
    assert (first["id"], second["id"] == "msg_own") == ("msg_own", False)
    assert items([own], history=[first])[0]["id"] != "msg_own"


def test_foreign_ids_name_no_response() -> None:
    for one in ("msg_1", "", "msg_" + "0" * 32, "resp_" + "0" * 32, "msg_" + "0" * 32 + "i١"):
        assert response_of(one) is None


def test_references_are_replaced_by_their_items() -> None:
    [stored] = items([ASKED])
    for reference in ({"type": "item_reference", "id": stored["id"]}, {"id": stored["id"]}):
        request = asked([reference, {"role": "user", "content": "And?"}])
        assert request.references == [stored["id"]]
        request.place(ID, [], {stored["id"]: stored})
        assert [one["content"] for one in request.prompts[0]["messages"]] == ["1+1?", "And?"]


# --- what is refused ---


@pytest.mark.parametrize(
    ("given", "param", "words"),
    [
        ([], "input", "at least 1"),
        (5, "input", "expected a string or a list"),
        ([5], "input.0", "an object"),
        ([{"type": "web_search_call", "id": "x"}], "input.0", "items of the type 'web_search_call' are not supported"),
        ([ASKED, {"type": ["a"]}], "input.1", "items of the type ['a'] are not supported"),
        ([{"role": "robot", "content": "x"}], "input.0.message.role", "expected 'user'"),
        ([{"role": "user"}], "input.0.message.content", "this field is missing"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}],
            "input.0.message.content.0",
            "'input_image'",
        ),
        ([{"type": "function_call", "name": "f", "arguments": "{}"}], "input.0.function_call.call_id", "missing"),
        ([CALL | {"arguments": "[" * 100}], None, ""),
        ([CALL | {"arguments": "[" * 100 + "]" * 100}], "input.0.function_call.arguments", "nested too deeply"),
        ([RESULT | {"output": None}], "input.0.function_call_output.output", "expected a string or a list"),
        ([THOUGHT | {"encrypted_content": "gAAA"}], "input.0.reasoning.encrypted_content", "cannot read it"),
    ],
)
def test_what_is_wrong_in_an_item_is_named(given: Any, param: str | None, words: str) -> None:
    if param is None:
        assert asked(given)
        return
    error = refusal(given)
    assert (error.param, words in error.message) == (param, True), (error.param, error.message)

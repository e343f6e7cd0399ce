"""Fields of requests: what is wrong is told in words, what means "off" is taken, what would be lost is refused."""

import json
from typing import Any

import pytest

from inference.openai.embeddings import EmbeddingRequest
from inference.openai.errors import OpenAIError
from inference.openai.requests import ChatRequest, CompletionRequest

HELLO = [{"role": "user", "content": "x"}]


def chat(**fields: Any) -> ChatRequest:
    return ChatRequest.parse(json.dumps({"model": "m", "messages": HELLO} | fields).encode())


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest.parse(json.dumps({"model": "m", "prompt": "x"} | fields).encode())


def refused(**fields: Any) -> OpenAIError:
    with pytest.raises(OpenAIError) as error:
        chat(**fields)
    assert error.value.status == 400
    return error.value


IMAGE = {"type": "image_url", "image_url": {"url": "x"}}


@pytest.mark.parametrize(
    ("content", "param", "words"),
    [
        (
            [IMAGE],
            "messages.0.content.0",
            "got 'image_url' as 'type', expected one of 'text', 'refusal'",
        ),
        ([{"type": "text", "text": "a"}, IMAGE], "messages.0.content.1", "'image_url'"),
        ([IMAGE, IMAGE], "messages.0.content.0", "'image_url'"),
        ([{"type": "text"}], "messages.0.content.0.text.text", "this field is missing"),
        ([{"type": "text", "text": 5}], "messages.0.content.0.text.text", "expected a string, got 5"),
        ([5], "messages.0.content.0", "an object, got 5"),
        (5, "messages.0.content", "expected a string or a list, got 5"),
        ({"a": 1}, "messages.0.content", "expected a string or a list"),
    ],
)
def test_the_error_of_a_union_is_that_of_the_member_that_was_meant(content: Any, param: str, words: str) -> None:
    error = refused(messages=[{"role": "user", "content": content}])
    assert (error.param, words in error.message) == (param, True), error.message


@pytest.mark.parametrize(
    ("prompt", "param", "words"),
    [
        (5, "prompt", "expected a string or a list"),
        ([1, "a"], "prompt.1", "expected a whole number"),
        (["a", 1], "prompt.1", "expected a string"),
        ([[1], ["a"]], "prompt.1.0", "expected a whole number, got 'a'"),
        ([], "prompt", "got 0 entries, expected at least 1"),
        ({}, "prompt", "expected a string or a list"),
    ],
)
def test_the_error_of_a_prompt_names_the_element(prompt: Any, param: str, words: str) -> None:
    with pytest.raises(OpenAIError) as error:
        completion(prompt=prompt)
    assert (error.value.param, words in error.value.message) == (param, True), error.value.message


def test_numbers_as_strings_are_refused_everywhere() -> None:
    for field, value in {
        "temperature": "1",
        "top_p": "1",
        "top_k": "1",
        "seed": "1",
        "n": "1",
        "repetition_penalty": "1",
        "logit_bias": {"10": "1"},
        "max_tokens": "1",
        "top_logprobs": "1",
    }.items():
        error = refused(**{field: value})
        assert (error.param or "").split(".")[0] == field
        assert "got '1'" in error.message
    assert chat(temperature=1, top_p=0.5, logit_bias={"10": 1, "11": -0.5}).sampling({}).logit_bias == (
        (10, 1),
        (11, -0.5),
    )


def test_what_clients_send_for_off_is_taken() -> None:
    assert chat(top_k=-1).sampling({}).top_k == 0
    assert chat(top_logprobs=0, logprobs=False).alternatives is None
    assert chat(top_logprobs=0).alternatives is None
    for off in (-1, 0, None):
        assert chat(max_tokens=off).token_limit is None
        assert chat(max_completion_tokens=off).token_limit is None
    assert chat(max_tokens=5, max_completion_tokens=None).token_limit == 5
    assert completion(max_tokens=-1).token_limit is None
    assert completion(max_tokens=0, echo=True).token_limit == 0
    for name, neutral in {
        "ignore_eos": False,
        "min_tokens": 0,
        "repeat_penalty": 1.0,
        "mirostat": 0,
        "tools": [],
    }.items():
        chat(**{name: neutral})
        chat(**{name: None})
    assert refused(top_logprobs=2).code == refused(top_logprobs=2, logprobs=False).code == "invalid_request"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_tokens", 5),
        ("ignore_eos", True),
        ("stop_token_ids", [1]),
        ("guided_json", {}),
        ("structured_outputs", {"regex": "a"}),
        ("grammar", "root ::= x"),
        ("repeat_penalty", 1.3),
        ("chat_template", "{{ messages }}"),
        ("documents", [{"title": "a"}]),
        ("echo", True),
        ("prompt", "x"),
        ("n_predict", 5),
        ("reasoning_effort", "high"),
        ("skip_special_tokens", False),
        ("functions", [{}]),
    ],
)
def test_what_would_change_the_answer_and_is_not_honoured_is_refused_by_name(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert (error.param, error.code) == (name, "unsupported_parameter")


def test_completions_and_embeddings_refuse_what_is_for_chats() -> None:
    for name, value in {"messages": HELLO, "continue_final_message": True, "chat_template_kwargs": {"a": 1}}.items():
        for kind, own in ((CompletionRequest, "prompt"), (EmbeddingRequest, "input")):
            with pytest.raises(OpenAIError) as error:
                kind.parse(json.dumps({"model": "m", own: "x", name: value}).encode())
            assert error.value.param == name


def test_a_schema_in_the_wrong_place_is_refused() -> None:
    for kind in ("json_object", "text"):
        error = refused(response_format={"type": kind, "schema": {"type": "object"}})
        assert error.param == "response_format.schema"
        assert "expected the schema in json_schema" in error.message
    assert chat(response_format={"type": "json_object", "schema": None}).answer_schema == '{"type": "object"}'


def test_options_of_the_chat_template_go_to_the_worker() -> None:
    assert chat().template == {"continue_final_message": False, "add_generation_prompt": True}
    assert chat(continue_final_message=True).template == {
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    assert chat(add_generation_prompt=False).template["add_generation_prompt"] is False
    assert chat(chat_template_kwargs={"enable_thinking": False}).template["enable_thinking"] is False
    assert (
        "needs add_generation_prompt to be false"
        in refused(continue_final_message=True, add_generation_prompt=True).message
    )
    for name in ("tokenize", "messages", "chat_template", "add_generation_prompt"):
        assert refused(chat_template_kwargs={name: 1}).param == "chat_template_kwargs"

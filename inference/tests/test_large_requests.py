"""A request with very many mistakes is refused at the first one: each other would take kilobytes and microseconds."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from inference.openai.embeddings import EmbeddingRequest
from inference.openai.errors import OpenAIError
from inference.openai.requests import Body, ChatRequest, CompletionRequest

MANY = 20_000
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        (CompletionRequest, {"prompt": [*[1] * MANY, "a"]}, "prompt"),
        (CompletionRequest, {"prompt": [1.5] * MANY}, "prompt"),
        (CompletionRequest, {"prompt": ["a"] * MANY}, "prompt"),
        (CompletionRequest, {"prompt": [[1]] * MANY}, "prompt"),
        (CompletionRequest, {"prompt": "a", "stop": [1] * MANY}, "stop"),
        (CompletionRequest, {"prompt": "a", "logit_bias": dict.fromkeys(map(str, range(MANY)), "1")}, "logit_bias"),
        (EmbeddingRequest, {"input": ["a"] * MANY}, "input"),
        (EmbeddingRequest, {"input": [[1]] * MANY}, "input"),
        (ChatRequest, {"messages": [1] * MANY}, "messages.0"),
        (ChatRequest, {"messages": [{}] * MANY}, "messages.0.role"),
        (ChatRequest, {"messages": [{"role": "user", "content": [1] * MANY}]}, "messages.0.content"),
        (ChatRequest, {"messages": [{"role": "user", "content": [{"type": "x"}] * MANY}]}, "messages.0.content"),
        (ChatRequest, {"messages": [{"role": "assistant", "tool_calls": [{}] * MANY}]}, "messages.0.tool_calls.0.id"),
    ],
)
def test_what_is_wrong_many_times_is_reported_once(kind: type[Body], fields: dict[str, Any], param: str) -> None:
    body = json.dumps({"model": "demo", **fields}).encode()
    with pytest.raises(OpenAIError) as refused:
        kind.parse(body)
    assert refused.value.status == 400
    assert (refused.value.param or "").startswith(param)
    assert len(refused.value.message) < 500
    assert isinstance(refused.value.__cause__, ValidationError)
    assert refused.value.__cause__.error_count() <= 5  # of a union, one for each member


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stop": "x" * 1001}, "stop: got a string of 1001 characters, expected at most 1000"),
        ({"logit_bias": dict.fromkeys(map(str, range(10_001)), 1)}, "got 10001 tokens, expected at most 10000"),
        ({"temperature": "x" * MANY}, "temperature"),
    ],
)
def test_a_field_that_is_too_long_is_refused_by_its_length(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(OpenAIError) as refused:
        ChatRequest.parse(json.dumps({"model": "demo", **CHAT, **fields}).encode())
    assert said in refused.value.message
    assert len(refused.value.message) < 500


def test_as_much_as_is_allowed_is_taken() -> None:
    fields = {"stop": ["x" * 1000] * 4, "logit_bias": dict.fromkeys(map(str, range(10_000)), 1)}
    asked = ChatRequest.parse(json.dumps({"model": "demo", **CHAT, **fields}).encode())
    assert len(asked.sampling({}).logit_bias) == 10_000

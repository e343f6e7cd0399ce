"""A body of /v1 is JSON that says each thing once: of two equal keys none is chosen in silence."""

import pytest

from inference.openai.errors import OpenAIError
from inference.openai.requests import ChatRequest, CompletionRequest

MESSAGES = '"messages": [{"role": "user", "content": "Hi"}]'


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (f'{{"model": "demo", {MESSAGES}, "steering": {{"features": {{"1": 2, "1": 9}}}}}}', "'1'"),
        (f'{{"model": "demo", "model": "other", {MESSAGES}}}', "'model'"),
        (f'{{"model": "demo", {MESSAGES}, "made_up": {{"a": 1, "a": 1}}}}', "'a'"),
        (f'{{"model": "demo", {MESSAGES}, "logit_bias": {{"5": 1, "5": -1}}}}', "'5'"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(body: str, key: str) -> None:
    with pytest.raises(OpenAIError) as refused:
        ChatRequest.parse(body.encode())
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")
    assert f"the key {key} is given twice in one object" in refused.value.message


@pytest.mark.parametrize("prompt", [b'"\\ud800"', b'["a", "\\udc00"]', b'"\xed\xa0\x80"', b'"a", "\\ud800": 1'])
def test_half_of_a_surrogate_pair_is_refused(prompt: bytes) -> None:
    with pytest.raises(OpenAIError) as refused:
        CompletionRequest.parse(b'{"model": "demo", "prompt": ' + prompt + b"}")
    assert refused.value.status == 400
    assert "The body is not JSON" in refused.value.message

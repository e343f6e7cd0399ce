"""`activations` in a chat or a completion: the features that fire in the answer, whole or streamed."""

import json
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from inference.tests.conftest import Server
from inference.tests.test_activations import activations
from millm_site.models import APIKey
from profiles.models import Profile

MESSAGES = [{"role": "user", "content": "Tell me about the whale."}]
BODY = {"model": "demo", "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "activations": {"top_k": 3}}


def post(server: Server, key: str, body: dict[str, Any], path: str = "chat/completions", status: int = 200) -> Any:
    url, headers = f"{server.url}/v1/{path}", {"Authorization": f"Bearer {key}"}
    answer = httpx.post(url, json=body, headers=headers, timeout=60)
    assert answer.status_code == status, answer.text
    return answer


def chat(server: Server, key: str, **more: Any) -> Any:
    return post(server, key, BODY | more).json()


def test_a_chat_has_the_features_of_each_token_of_its_answer(server: Server, api_key: str) -> None:
    answer = chat(server, api_key)
    found = answer["millm"]["activations"]
    assert (found["sae"], found["stage"]) == ("demo-sae", None)
    [choice] = found["choices"]
    text = "".join(one["text"] for one in choice["tokens"] if not one["special"])
    assert text == answer["choices"][0]["message"]["content"]
    assert len(choice["tokens"]) == answer["usage"]["completion_tokens"]
    assert choice["tokens"][0]["position"] == answer["usage"]["prompt_tokens"]
    whole = chat(server, api_key, activations={"top_k": 3, "positions": "all"})["millm"]["activations"]["choices"][0]
    ids = [one["id"] for one in whole["tokens"]]
    for token in choice["tokens"]:
        row = activations(ids)[token["position"]]
        values = [one["activation"] for one in token["features"]]
        assert values == pytest.approx(row.topk(len(values)).values.tolist(), abs=1e-3)


def test_the_prompt_or_all_can_be_read(server: Server, api_key: str) -> None:
    by = {
        positions: chat(server, api_key, activations={"positions": positions})["millm"]["activations"]["choices"][0]
        for positions in ("answer", "prompt", "all")
    }
    parts = [*by["prompt"]["tokens"], *by["answer"]["tokens"]]
    for part, token in zip(parts, by["all"]["tokens"], strict=True):
        assert (part["position"], part["id"]) == (token["position"], token["id"])
        assert [one["index"] for one in part["features"]] == [one["index"] for one in token["features"]]
    assert "whale" in "".join(one["text"] for one in by["prompt"]["tokens"])


def test_a_stream_has_them_in_one_last_chunk_without_choices(server: Server, api_key: str) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    lines = post(server, api_key, BODY | options).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    [last] = [chunk for chunk in chunks if "millm" in chunk]
    assert last["choices"] == []
    assert chunks.index(last) == len(chunks) - 2
    assert "usage" in chunks[-1]
    assert chunks[-3]["choices"][0]["finish_reason"] == "length"
    assert last["millm"] == chat(server, api_key)["millm"]


def test_under_a_steering_the_stage_is_said_and_counts(server: Server, api_key: str) -> None:
    """The same tokens, before the steering and after it, at the steered features."""
    strengths = Profile.objects.get(name="ocean").strengths
    steering = {"features": {str(index): value for index, value in strengths.items()}}
    features = [index for index, value in strengths.items() if value > 0]
    found = {}
    for stage in ("before", "after"):
        options = {"features": features, "stage": stage}
        answer = chat(server, api_key, steering=steering, activations=options)["millm"]["activations"]
        assert answer["stage"] == stage
        found[stage] = answer["choices"][0]
    assert [one["id"] for one in found["before"]["tokens"]] == [one["id"] for one in found["after"]["tokens"]]
    for before, after in zip(found["before"]["features"], found["after"]["features"], strict=True):
        assert after["sum"] > before["sum"]


def test_each_choice_of_each_prompt_has_its_own(server: Server, api_key: str) -> None:
    body = {"model": "demo", "prompt": ["The whale", "The rocket"], "n": 2, "max_tokens": 6, "seed": 3}
    answer = post(server, api_key, body | {"activations": {"top_k": 1}}, "completions").json()
    choices = answer["millm"]["activations"]["choices"]
    assert [one["index"] for one in choices] == [0, 1, 2, 3]
    for choice, read in zip(answer["choices"], choices, strict=True):
        assert "".join(one["text"] for one in read["tokens"] if not one["special"]) == choice["text"]


def test_without_it_an_answer_has_no_millm(server: Server, api_key: str) -> None:
    assert "millm" not in chat(server, api_key, activations=None)


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ({"top_k": 0}, 400, "top_k"),
        ({"top_k": 5, "feature": [1]}, 400, "feature"),
        ({"features": [100_000]}, 400, "out of range"),
        ({"positions": "last"}, 400, "positions"),
        ({"sae": "no-such"}, 404, "no SAE no-such"),
    ],
)
def test_what_cannot_be_read_is_refused_before_an_answer(
    server: Server, api_key: str, options: dict[str, Any], status: int, told: str
) -> None:
    assert told in post(server, api_key, BODY | {"activations": options, "stream": True}, status=status).text


def test_more_features_than_an_answer_may_have_are_refused(server: Server, api_key: str) -> None:
    body = BODY | {"max_tokens": 3000, "n": 16, "activations": {"top_k": 100}}
    assert "fewer features" in post(server, api_key, body, status=400).text


def test_it_needs_the_permission_to_view_labels(server: Server, demo: Any) -> None:
    key = str(APIKey.objects.create(User.objects.create_user("asker"), name="test")[1])
    answer = post(server, key, BODY, status=403)
    assert answer.json()["error"]["param"] == "activations"

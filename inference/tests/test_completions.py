"""POST /v1/completions, as the `openai` package sees it."""

from typing import Any

import openai
import pytest

from inference.tests.conftest import Server
from profiles.models import Profile


@pytest.fixture
def client(server: Server, api_key: str) -> Any:
    return server.openai(api_key).completions


def complete(client: Any, prompt: Any, **options: Any) -> Any:
    return client.create(**{"model": "demo", "prompt": prompt, "temperature": 0, "max_tokens": 12} | options)


def test_a_text_is_gone_on_with(client: Any) -> None:
    answer = complete(client, "The whale dives")
    [choice] = answer.choices
    assert (answer.object, choice.index) == ("text_completion", 0)
    assert choice.text
    assert choice.finish_reason in {"stop", "length"}
    assert answer.usage.completion_tokens <= 12
    assert answer.id.startswith("cmpl-")
    assert complete(client, "The whale dives", max_tokens=None).usage.completion_tokens <= 16


def test_several_prompts_are_answered_in_their_order(client: Any) -> None:
    prompts = ["The whale", "The rocket", "We like"]
    together = complete(client, prompts, n=2, seed=5, temperature=1)
    assert [choice.index for choice in together.choices] == list(range(6))
    texts = [choice.text for choice in together.choices]
    alone = [complete(client, prompt, seed=seed, temperature=1) for prompt in prompts for seed in (5, 6)]
    assert texts == [answer.choices[0].text for answer in alone]
    assert together.usage.prompt_tokens == sum(answer.usage.prompt_tokens for answer in alone[::2])
    assert together.usage.completion_tokens == sum(answer.usage.completion_tokens for answer in alone)


def test_token_ids_are_a_prompt_and_echo_gives_it_back(client: Any) -> None:
    echoed = complete(client, "The whale", echo=True)
    assert echoed.choices[0].text == "The whale" + complete(client, "The whale").choices[0].text
    several = complete(client, [[220, 221], [222]], echo=True).choices
    for choice, prompt in zip(several, ([220, 221], [222]), strict=True):
        alone = complete(client, prompt).choices[0].text
        assert choice.text.endswith(alone)
        assert len(choice.text) > len(alone)


@pytest.mark.parametrize("options", [{}, {"echo": True}, {"n": 2, "seed": 1, "temperature": 1}, {"logprobs": 3}])
def test_a_stream_says_what_the_whole_answer_says(client: Any, options: dict[str, Any]) -> None:
    whole = complete(client, "The whale dives", **options)
    streamed = [""] * len(whole.choices)
    tokens: list[str] = []
    for chunk in complete(client, "The whale dives", stream=True, **options):
        [choice] = chunk.choices
        streamed[choice.index] += choice.text
        tokens += choice.logprobs.tokens if choice.logprobs else []
    assert streamed == [choice.text for choice in whole.choices]
    assert not options.get("logprobs") or tokens == whole.choices[0].logprobs.tokens


def test_log_probabilities_are_in_the_legacy_shape(client: Any) -> None:
    [choice] = complete(client, "The whale dives", logprobs=2).choices
    known = choice.logprobs
    assert len(known.tokens) == len(known.token_logprobs) == len(known.top_logprobs) == len(known.text_offset)
    assert known.text_offset[0] == 0
    assert all(max(top, key=top.get) == token for token, top in zip(known.tokens, known.top_logprobs, strict=True))


def test_profiles_steer_completions_too(client: Any) -> None:
    plain = complete(client, "We like").choices[0].text
    own = complete(client, "We like", model="demo:space").choices[0].text
    assert complete(client, "We like").choices[0].text == plain
    assert complete(client, "We like", extra_body={"profile": "space"}).choices[0].text == own
    assert Profile.objects.get(name="space").is_active
    assert plain != own


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("", {}),
        ([], {}),
        ([[]], {}),
        ([999_999], {}),
        ([-1], {}),
        ([1, "a"], {}),
        ("x", {"suffix": "y"}),
        ("x", {"best_of": 3}),
        (["x"] * 9, {"n": 2}),
    ],
)
def test_what_is_no_prompt_is_refused(client: Any, prompt: Any, options: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError):
        complete(client, prompt, **options)

"""A chat through HTTP, Celery and the resident engine, as the `openai` package sees it."""

from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from inference.demo.tiny.measure import shares
from inference.models import LanguageModel
from inference.tests.conftest import Server
from profiles.models import Profile
from steering.models import SteeringState

MESSAGES = [{"role": "user", "content": "Tell me something."}]


def ask(client: openai.OpenAI, **kwargs: object) -> str:
    answer = client.chat.completions.create(model="demo", messages=MESSAGES, **kwargs)  # type: ignore[call-overload]
    return str(answer.choices[0].message.content)


def test_an_answer_is_complete(server: Server, api_key: str) -> None:
    answer = server.openai(api_key).chat.completions.create(model="demo", messages=MESSAGES, temperature=0)  # type: ignore[arg-type]
    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "demo"
    assert answer.system_fingerprint


def test_a_stream_says_what_the_whole_answer_says(server: Server, api_key: str) -> None:
    client = server.openai(api_key)
    whole = ask(client, seed=7)
    options = {"seed": 7, "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model="demo", messages=MESSAGES, **options))  # type: ignore[call-overload]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole
    assert [delta.role for delta in deltas].count("assistant") == 1
    assert deltas[0].role == "assistant"
    assert len(deltas) > 3
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_seed_gives_the_same_text_and_another_seed_another(server: Server, api_key: str) -> None:
    client = server.openai(api_key)
    texts = [ask(client, seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 2


def test_several_choices_have_seeds_of_their_own_and_stream_as_they_answer(server: Server, api_key: str) -> None:
    client: Any = server.openai(api_key)
    options = {"seed": 11, "n": 3, "max_tokens": 20}
    whole = client.chat.completions.create(model="demo", messages=MESSAGES, **options)
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert texts == [ask(client, seed=seed, max_tokens=20) for seed in (11, 12, 13)]
    streamed: dict[int, str] = {0: "", 1: "", 2: ""}
    reasons: dict[int, str] = {}
    stream = client.chat.completions.create(model="demo", messages=MESSAGES, stream=True, **options)
    for chunk in stream:
        [choice] = chunk.choices
        streamed[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert list(streamed.values()) == texts
    assert len(reasons) == 3
    alone = [
        client.chat.completions.create(model="demo", messages=MESSAGES, seed=seed, max_tokens=20)
        for seed in (11, 12, 13)
    ]
    assert whole.usage.completion_tokens == sum(answer.usage.completion_tokens for answer in alone)


def test_log_probabilities_come_with_the_text(server: Server, api_key: str) -> None:
    client: Any = server.openai(api_key)
    options = {"temperature": 0, "logprobs": True, "top_logprobs": 4, "max_tokens": 12}
    whole = client.chat.completions.create(model="demo", messages=MESSAGES, **options)
    entries = whole.choices[0].logprobs.content
    assert len(entries) == whole.usage.completion_tokens
    for entry in entries:
        assert len(entry.top_logprobs) == 4
        assert entry.top_logprobs[0].token == entry.token  # greedy
        assert entry.top_logprobs[0].logprob == entry.logprob <= 0
    stream = client.chat.completions.create(model="demo", messages=MESSAGES, stream=True, **options)
    parts = [chunk.choices[0].logprobs for chunk in stream if chunk.choices]
    streamed = [entry for part in parts if part for entry in part.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]


def test_penalties_and_biases_steer_the_choice_of_words(server: Server, api_key: str) -> None:
    client: Any = server.openai(api_key)
    plain = ask(client, temperature=0, max_tokens=40)
    assert ask(client, temperature=0, max_tokens=40, frequency_penalty=2) != plain
    first = client.chat.completions.create(
        model="demo", messages=MESSAGES, temperature=0, max_tokens=1, logit_bias={"100": 100}
    )
    assert first.choices[0].message.content not in plain[:10]


def test_selecting_a_profile_activates_it_for_everyone(server: Server, api_key: str) -> None:
    client = server.openai(api_key)
    answers = [ask(client, extra_body={"profile": "ocean"}, seed=0)]
    active = Profile.objects.active()
    assert active is not None
    assert active.name == "ocean"
    state = SteeringState.objects.load()
    assert state.enabled
    assert state.strengths == active.strengths
    answers += [ask(client, seed=seed) for seed in range(1, 24)]
    assert shares(answers, "ocean").on_topic >= 0.7


def test_activating_a_profile_by_rest_steers_the_next_chat_and_deactivating_ends_it(
    server: Server, api_key: str
) -> None:
    client, auth = server.openai(api_key), {"Authorization": f"Bearer {api_key}"}
    profile = Profile.objects.get(name="space")
    httpx.post(f"{server.url}/api/profiles/{profile.pk}/activate", headers=auth).raise_for_status()
    steered = [ask(client, seed=seed) for seed in range(24)]
    httpx.post(f"{server.url}/api/profiles/{profile.pk}/deactivate", headers=auth).raise_for_status()
    unsteered = [ask(client, seed=seed) for seed in range(24)]
    assert shares(steered, "space").on_topic >= 0.7
    assert shares(unsteered, "space").on_topic <= 0.45


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "other", "messages": MESSAGES}, 404, "model_not_found", "model"),
        ({"model": "demo", "messages": MESSAGES, "profile": "nobody"}, 404, "profile_not_found", "profile"),
        ({"model": "demo", "messages": MESSAGES, "profile": "a\0b"}, 404, "profile_not_found", "profile"),
        ({"model": "demo", "messages": []}, 400, "invalid_request", "messages"),
        ({"model": "demo"}, 400, "invalid_request", "messages"),
        ({"model": "demo", "messages": MESSAGES, "temperature": True}, 400, "invalid_request", "temperature"),
        ({"model": "demo", "messages": MESSAGES, "temperature": 3}, 400, "invalid_request", "temperature"),
        ({"model": "demo", "messages": MESSAGES, "max_tokens": "5"}, 400, "invalid_request", "max_tokens"),
        ({"model": "demo", "messages": MESSAGES, "max_tokens": -2}, 400, "invalid_request", "max_tokens"),
        ({"model": "demo", "messages": MESSAGES, "n": 17}, 400, "invalid_request", "n"),
        ({"model": "demo", "messages": MESSAGES, "top_logprobs": 2}, 400, "invalid_request", None),
        ({"model": "demo", "messages": MESSAGES, "presence_penalty": 2.5}, 400, "invalid_request", "presence_penalty"),
        ({"model": "demo", "messages": MESSAGES, "logit_bias": {"x": 1}}, 400, "invalid_request", "logit_bias"),
        ({"model": "demo", "messages": MESSAGES, "logit_bias": {"99999": 1}}, 400, "invalid_request", "logit_bias"),
        ({"model": "demo", "messages": MESSAGES, "functions": [{}]}, 400, "unsupported_parameter", "functions"),
        ({"model": "demo", "messages": MESSAGES, "stop": list("abcde")}, 400, "invalid_request", "stop"),
        ({"model": "demo", "messages": MESSAGES, "max_tokens": 10**6}, 400, "context_length_exceeded", "messages"),
    ],
)
def test_a_bad_request_is_refused_with_the_field_and_a_code(
    server: Server, api_key: str, body: dict[str, object], status: int, code: str, param: str
) -> None:
    for stream in (False, True):
        answer = httpx.post(
            f"{server.url}/v1/chat/completions",
            json=body | {"stream": stream},
            headers={"Authorization": f"Bearer {api_key}"},
        )
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, code, param), answer.text
        assert Profile.objects.active() is None


def test_a_body_that_is_not_json_is_refused(server: Server, api_key: str) -> None:
    auth = {"Authorization": f"Bearer {api_key}"}
    for body in (b"", b"{", b"[]", b'{"model": NaN}', b"\xff", b"[" * 100_000):
        answer = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers=auth)
        assert answer.status_code == 400, body[:20]
        assert answer.json()["error"]["message"]


def test_an_incompatible_profile_is_a_409_and_changes_nothing(server: Server, api_key: str) -> None:
    Profile.objects.create(name="foreign", model_id="gpt2", sae_id="demo-sae", layer=0, strengths={1: 2.0})
    with pytest.raises(openai.ConflictError) as refused:
        ask(server.openai(api_key), extra_body={"profile": "foreign"})
    assert "gpt2" in str(refused.value)
    assert Profile.objects.active() is None


def test_a_key_is_required(server: Server) -> None:
    for key in ("wrong", "sk-" + "0" * 64):
        with pytest.raises(openai.AuthenticationError) as refused:
            ask(server.openai(key))
        assert refused.value.code == "invalid_api_key"
    answer = httpx.get(f"{server.url}/v1/models")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_served_model_is_listed(server: Server, api_key: str, demo: LanguageModel) -> None:
    models = server.openai(api_key).models.list().data
    assert models[0].id == "demo"
    assert server.openai(api_key).models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        server.openai(api_key).models.retrieve("other")


def test_16_simultaneous_requests_each_keep_the_steering_they_were_asked_under(server: Server, api_key: str) -> None:
    client, auth = server.openai(api_key), {"Authorization": f"Bearer {api_key}"}
    profiles = [None, *Profile.objects.all()[:3]]

    def select(profile: Profile | None) -> None:
        chosen = profile or Profile.objects.get(name="winter")
        httpx.post(f"{server.url}/api/profiles/{chosen.pk}/activate", headers=auth).raise_for_status()
        if profile is None:
            httpx.post(f"{server.url}/api/profiles/{chosen.pk}/deactivate", headers=auth).raise_for_status()

    def open_stream(i: int) -> openai.Stream[ChatCompletionChunk]:
        select(profiles[i % 4])
        prompt = f"Tell me something, please. {i // 4}"
        return client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": prompt}],
            temperature=0,
            stream=True,
            max_tokens=60,
        )

    def text(stream: openai.Stream[ChatCompletionChunk]) -> str:
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    streams = [open_stream(i) for i in range(16)]
    together = [text(stream) for stream in streams]
    alone = [text(open_stream(i)) for i in range(16)]
    assert together == alone
    assert len(set(together)) >= 4

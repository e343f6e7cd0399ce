"""A model as people bring them, by HTTP: SentencePiece, a cache below the context, a token that it cannot read."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.broker import heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.scripted import after, ids_of, scripted_model, sentencepiece
from inference.tests.test_loading import eventually

CACHE = 256
TOKENIZER = sentencepiece()
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scripted") / "spm"
    script = (
        after(TOKENIZER, "▁is", "▁Paris", ".", "</s>")
        | after(TOKENIZER, "▁smile", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "▁yes", "</s>")
        | after(TOKENIZER, "▁one", "<0x0A>", "<0xE2>", "▁two", "</s>")
        | after(TOKENIZER, "▁of", "▁France", "</s>")
    )
    scripted_model(TOKENIZER, script).save_pretrained(made)
    with_more = sentencepiece(pad_token="[PAD]")  # as fine-tunes add one, without a row in the embedding
    with_more.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def worker(processes: Server, folder: Path, django_db_blocker: Any) -> Iterator[Any]:
    with django_db_blocker.unblock():
        LanguageModel.objects.register(str(folder), anywhere=True)
    started = processes.start_worker(INFERENCE_MODEL="spm", INFERENCE_CACHE_TOKENS=str(CACHE))
    yield started
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 0


@pytest.fixture
def client(server: Server, api_key: str, worker: Any, folder: Path) -> Iterator[httpx.Client]:
    if not LanguageModel.objects.filter(name="spm").exists():
        LanguageModel.objects.register(str(folder), anywhere=True)
    eventually(lambda: any(beat.serves("spm") for beat in heartbeats.live_workers()))
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def complete(client: httpx.Client, prompt: Any, **options: Any) -> Any:
    body = {"model": "spm", "prompt": prompt, "temperature": 0, "max_tokens": 9} | options
    answer = client.post("/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


def chat(client: httpx.Client, *contents: str, **options: Any) -> httpx.Response:
    messages = [{"role": role, "content": one} for role, one in zip(["user", "assistant"], contents, strict=False)]
    return client.post("/chat/completions", json={"model": "spm", "messages": messages, "temperature": 0} | options)


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def streamed(client: httpx.Client, prompt: Any, **options: Any) -> str:
    body = {"model": "spm", "prompt": prompt, "temperature": 0, "max_tokens": 9, "stream": True} | options
    with client.stream("POST", "/completions", json=body) as answer:
        chunks = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["text"] for chunk in chunks)


def test_a_completion_goes_on_with_its_prompts_text_and_a_chat_answers_with_its_own(client: httpx.Client) -> None:
    assert complete(client, PROMPT)["text"] == streamed(client, PROMPT) == " Paris."
    assert complete(client, TOKENIZER(PROMPT)["input_ids"])["text"] == " Paris."
    stopped = complete(client, PROMPT, stop=" Paris")
    assert (stopped["text"], stopped["finish_reason"]) == ("", "stop")
    assert said(chat(client, PROMPT)) == "Paris."


def test_an_echo_has_no_token_that_the_tokenizer_adds_and_offsets_are_places_in_the_text(client: httpx.Client) -> None:
    for prompt in (PROMPT, TOKENIZER(PROMPT)["input_ids"]):
        choice = complete(client, prompt, echo=True, logprobs=1)
        assert choice["text"] == f"{PROMPT} Paris."
        known = choice["logprobs"]
        assert known["tokens"] == ["<s>", "The", " capital", " of", " France", " is", " Paris", ".", "</s>"]
        assert known["text_offset"] == [0, 0, 3, 11, 14, 21, 24, 30, 31]
        shown = zip(known["tokens"][1:-1], known["text_offset"][1:-1], strict=True)
        assert all(choice["text"].startswith(token, offset) for token, offset in shown)


def test_the_log_probabilities_of_a_chat_have_the_text_of_the_answer(client: httpx.Client) -> None:
    entries = chat(client, PROMPT, logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == ["Paris", ".", "</s>"]


def test_bytes_that_are_no_text_are_replaced_and_the_answer_goes_on(client: httpx.Client) -> None:
    assert complete(client, "smile")["text"] == streamed(client, "smile") == "😀 yes"
    assert complete(client, "one")["text"] == streamed(client, "one") == "\n� two"
    assert said(chat(client, "one")) == "\n� two"


def test_parts_of_characters_have_names_of_their_own(client: httpx.Client) -> None:
    known = complete(client, "smile", logprobs=20)["logprobs"]
    assert known["tokens"] == ["bytes:\\xf0", "bytes:\\x9f", "bytes:\\x98", "bytes:\\x80", " yes", "</s>"]
    assert known["text_offset"] == [0, 0, 0, 0, 1, 5]
    for token, top, own in zip(known["tokens"], known["top_logprobs"], known["token_logprobs"], strict=True):
        assert len(top) > 10
        assert top[token] == own == max(top.values())


def test_a_final_message_is_gone_on_with(client: httpx.Client) -> None:
    going_on = {"continue_final_message": True, "add_generation_prompt": False}
    assert said(chat(client, "The", PROMPT, **going_on)) == " Paris."
    assert said(chat(client, "The", PROMPT, continue_final_message=True)) == " Paris."
    refused = chat(client, "The", PROMPT, continue_final_message=True, add_generation_prompt=True)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


def test_without_max_tokens_a_prompt_is_refused_for_its_own_length_only(client: httpx.Client) -> None:
    fits, no_fit = " of" * (CACHE - 20), " of" * (CACHE + 1)
    answered = chat(client, fits)
    assert answered.status_code == 200, answered.text
    refused = chat(client, no_fit)
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    assert f"maximum context length is {CACHE} tokens" in refused.json()["error"]["message"]
    longest = complete(client, ids_of(TOKENIZER, "▁one") * (CACHE - 20), max_tokens=20)
    assert longest["text"] == "\n� two"


@pytest.mark.parametrize("max_tokens", [CACHE, -1])
def test_a_completion_that_is_too_long_blames_its_prompt(client: httpx.Client, max_tokens: int) -> None:
    body = {"model": "spm", "prompt": "of " * (CACHE if max_tokens < 0 else 1), "max_tokens": max_tokens}
    error = client.post("/completions", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")
    assert "messages" not in error["message"]


def test_a_token_that_the_model_cannot_read_is_refused_and_ends_nothing(client: httpx.Client) -> None:
    pad = len(TOKENIZER)
    model = {"model": "spm"}
    refused = [
        (chat(client, "a [PAD] b"), "messages"),
        *(
            (client.post("/completions", json=model | {"prompt": prompt} | options), "prompt")
            for prompt in ("a [PAD]", [5, pad])
            for options in ({}, {"echo": True, "logprobs": 1, "max_tokens": 0})
        ),
        *((client.post("/embeddings", json=model | {"input": text}), "input") for text in ("[PAD]", [5, pad])),
    ]
    for answer, param in refused:
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), answer.text
        assert f"token {pad}, '[PAD]', is out of range: this model reads the tokens 0 to {pad - 1}" in error["message"]
    assert complete(client, PROMPT)["text"] == " Paris."

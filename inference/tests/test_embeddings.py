"""POST /v1/embeddings, beside transformers run by hand."""

import base64
from typing import Any

import numpy as np
import openai
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.demo.tiny import FILES
from inference.engine.prompt_reader import PromptReader
from inference.tests.conftest import Server
from inference.tests.tiny import tiny_model
from profiles.models import Profile

TEXTS = [
    "The whale dives deep.",
    "We like the rocket, the moon and the stars above us all.",
    "snow",
    "The whale dives.",
]


def reference(text: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(FILES / "model", dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(FILES / "model")(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(ids, output_hidden_states=True).hidden_states[-1][0].mean(dim=0).numpy()


def numbers(embedding: str) -> Any:
    return np.frombuffer(base64.b64decode(embedding), dtype="<f4")


@pytest.fixture
def client(server: Server, api_key: str) -> openai.OpenAI:
    return server.openai(api_key)


def test_an_embedding_is_the_mean_of_the_last_hidden_state_whoever_steers(client: openai.OpenAI) -> None:
    Profile.objects.get(name="ocean").activate()
    answer = client.embeddings.create(model="demo", input=TEXTS)  # the SDK asks for base64
    assert [one.index for one in answer.data] == [0, 1, 2, 3]
    for one, text in zip(answer.data, TEXTS, strict=True):
        np.testing.assert_allclose(one.embedding, reference(text), atol=1e-4)
    assert answer.model == "demo"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 10


def test_floats_and_base64_say_the_same(client: openai.OpenAI) -> None:
    floats = client.embeddings.create(model="demo", input=TEXTS[0], encoding_format="float")
    raw: Any = client.embeddings.with_raw_response.create(model="demo", input=TEXTS[0], encoding_format="base64")
    encoded = raw.http_response.json()["data"][0]["embedding"]
    np.testing.assert_array_equal(numbers(encoded), np.array(floats.data[0].embedding, dtype=np.float32))
    assert raw.headers["X-miLLM-Steering"] == "none"
    assert raw.headers["X-miLLM-Profile"] == ""


def test_token_ids_are_texts_too(client: openai.OpenAI) -> None:
    ids = AutoTokenizer.from_pretrained(FILES / "model")(TEXTS[1])["input_ids"]
    several = client.embeddings.create(model="demo", input=[ids, ids[:3]]).data
    one = client.embeddings.create(model="demo", input=TEXTS[1]).data[0]
    np.testing.assert_allclose(several[0].embedding, one.embedding, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "status", "param"),
    [
        ({"input": []}, 400, "input"),
        ({"input": ["x"] * 2049}, 400, "input"),
        ({"input": [999_999]}, 400, "input"),
        ({"input": "ocean " * 5000}, 400, "input"),
        ({"input": "x", "dimensions": 3}, 400, "dimensions"),
        ({"input": "x", "model": "demo:ocean"}, 400, "model"),
        ({"input": "x", "model": "other"}, 404, "model"),
        ({"input": "x", "extra_body": {"profile": "ocean"}}, 400, "profile"),
        ({"input": "x", "extra_body": {"steering": {"features": {}}}}, 400, "steering"),
    ],
)
def test_what_cannot_be_embedded_is_refused(client: Any, options: dict[str, Any], status: int, param: str) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.embeddings.create(**{"model": "demo"} | options)
    assert (refused.value.status_code, str(refused.value.param).split(".")[0]) == (status, param), refused.value.message


def test_many_texts_are_batched_and_keep_their_order() -> None:
    reader = PromptReader(tiny_model())
    texts = [[(i * 7 + j) % 300 + 2 for j in range(1 + (i * 37) % 400)] for i in range(60)]
    batches = list(reader.embeddings(texts))
    assert len(batches) > 1
    together = {index: embedding for batch in batches for index, embedding in batch}
    for index, text in enumerate(texts):
        [[(_, alone)]] = reader.embeddings([text])
        np.testing.assert_allclose(numbers(together[index]), numbers(alone), atol=1e-5)

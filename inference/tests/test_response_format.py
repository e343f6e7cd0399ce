"""Answers held to a JSON schema, beside others in the same batch."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from jsonschema import validate
from pydantic import BaseModel

from inference.interface import InvalidSchema, SamplingParams
from inference.tests.conftest import Server
from inference.tests.engines import Collected, run_engine
from inference.tests.test_engine_steering import spec
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer


class Mood(BaseModel):
    mood: Literal["calm", "wild", "🌊 deep"]
    loud: bool
    size: Literal[1, 22, 333]


SCHEMAS: list[dict[str, Any]] = [
    {**Mood.model_json_schema(), "additionalProperties": False},
    {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3},
    {"type": "string", "pattern": "^[0-9]{3}-[xyz]{2}$"},
]
MESSAGES = [{"role": "user", "content": "Tell me something."}]


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path_factory.mktemp("sae"))) as engine:
        yield engine


def ask(collected: Collected, seed: int, schema: dict[str, Any] | None) -> str:
    return collected.submit(
        list(range(40 + seed, 52 + seed)),
        spec({seed: 1.5}) if seed % 2 else None,
        sampling=SamplingParams(temperature=1.0, seed=seed),
        max_new_tokens=500 if schema else 20,
        schema=json.dumps(schema) if schema else None,
    )


def test_each_answer_of_a_batch_is_of_its_own_schema_and_as_it_is_alone(collected: Collected) -> None:
    schemas = [[*SCHEMAS, None][i % 4] for i in range(16)]
    together = [ask(collected, i, schema) for i, schema in enumerate(schemas)]
    texts = [collected.text(request_id) for request_id in together]
    for text, schema, request_id in zip(texts, schemas, together, strict=True):
        if schema:
            validate(json.loads(text), schema)
            assert collected.wait(request_id)[-1].data["reason"] == "stop"
    assert len(set(texts)) > 8
    assert texts == [collected.text(ask(collected, i, schema)) for i, schema in enumerate(schemas)]


@pytest.mark.parametrize(
    "schema", ['{"type": "nonsense"}', '{"type": "string", "pattern": "("}', '{"$ref": "http://x/y"}', "[]", "{"]
)
def test_a_schema_that_cannot_be_used_is_refused_and_costs_no_place(collected: Collected, schema: str) -> None:
    for _ in range(80):  # more than the engine has places
        with pytest.raises(InvalidSchema, match="Invalid schema"):
            collected.submit([40, 41], schema=schema)
    assert collected.engine.statistics().running == collected.engine.statistics().waiting == 0


@pytest.fixture
def client(server: Server, api_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def test_every_steering_answers_by_the_schema(client: httpx.Client) -> None:
    json_schema = {"name": "mood", "strict": True, "schema": SCHEMAS[0]}
    asked: dict[str, Any] = {
        "messages": MESSAGES,
        "response_format": {"type": "json_schema", "json_schema": json_schema},
    }
    models = ["demo", "demo:ocean", "demo:space", "demo:music"]
    with ThreadPoolExecutor(8) as pool:
        bodies = [asked | {"model": models[i % 4], "seed": i} for i in range(8)]
        answers = list(pool.map(lambda body: client.post("/chat/completions", json=body).json(), bodies))
    for answer in answers:
        [choice] = answer["choices"]
        assert choice["finish_reason"] == "stop"
        Mood.model_validate_json(choice["message"]["content"])


def test_a_json_object_is_one_also_in_a_stream(client: httpx.Client) -> None:
    body = {"model": "demo", "messages": MESSAGES, "response_format": {"type": "json_object"}, "seed": 1}
    # A small model does not care to close what it opens: a bias towards the closing brace helps it.
    body["logit_bias"] = {str(token): 12 for token in _tokens_with(client, "}")}
    whole = client.post("/chat/completions", json=body).json()["choices"][0]
    assert whole["finish_reason"] == "stop"
    assert isinstance(json.loads(whole["message"]["content"]), dict)
    with client.stream("POST", "/chat/completions", json=body | {"stream": True}) as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: {")]
    deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines]
    assert "".join(deltas) == whole["message"]["content"]


def _tokens_with(client: httpx.Client, text: str) -> list[int]:
    from transformers import AutoTokenizer

    from inference.demo.tiny import FILES

    vocabulary = AutoTokenizer.from_pretrained(FILES / "model").get_vocab()
    return [token_id for piece, token_id in vocabulary.items() if text in piece]


@pytest.mark.parametrize(
    ("response_format", "param"),
    [
        ({"type": "xml"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format"),
        ({"type": "json_object", "json_schema": {"name": "x"}}, "response_format"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, "response_format.json_schema.name"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}, "response_format"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}, "response_format"),
    ],
)
def test_what_cannot_be_honoured_is_a_400(client: httpx.Client, response_format: Any, param: str) -> None:
    body = {"model": "demo", "messages": MESSAGES, "response_format": response_format}
    answer = client.post("/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    completion = {"model": "demo", "prompt": "x", "response_format": {"type": "json_object"}}
    assert client.post("/completions", json=completion).json()["error"]["param"] == "response_format"


def test_a_model_whose_answers_have_no_end_token_refuses_schemas(tmp_path: Path) -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = None
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with (
        run_engine(model, tokenizer, tiny_sae(tmp_path / "sae")) as engine,
        pytest.raises(InvalidSchema, match="no token that ends"),
    ):
        engine.submit([40, 41], schema="{}")

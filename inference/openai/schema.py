"""The OpenAPI description of /v1, made of the models that check the requests."""

from functools import cache
from typing import Any

from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from inference.openai.embeddings import EmbeddingRequest
from inference.openai.requests import ChatRequest, CompletionRequest

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
BOOLEAN = {"type": "boolean"}
REFUSALS = {
    400: "Something in the request is wrong, and nothing was changed",
    401: "No API key, or a wrong one",
    403: "The key's user may not activate profiles",
    404: "There is no such model, profile or path",
    405: "The path has other methods",
    409: "The profile does not fit what is here now",
    413: "The body is larger than this server takes",
    415: "The body is not JSON",
    429: "Too many requests wait, or are in progress for this key: try again after `Retry-After` seconds",
    503: "The database, the broker or the worker is unavailable",
}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _const(value: str) -> dict[str, Any]:
    return {"type": "string", "const": value}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


USAGE = _object(prompt_tokens=INTEGER, completion_tokens=INTEGER, total_tokens=INTEGER)
FINISH = {"enum": ["stop", "length"]}
CHOICE = _object(index=INTEGER, finish_reason=FINISH, logprobs=_or_null({"type": "object"}))
MODEL = _object(id=STRING, object=_const("model"), created=INTEGER, owned_by=STRING)
ERROR = _object(error=_object(message=STRING, type=STRING, param=_or_null(STRING), code=_or_null(STRING)))


def _answer(kind: str, **of_choice: dict[str, Any]) -> dict[str, Any]:
    choice = {**CHOICE, "properties": CHOICE["properties"] | of_choice, "required": [*CHOICE["required"], *of_choice]}
    head = {"id": STRING, "object": _const(kind), "created": INTEGER, "model": STRING, "system_fingerprint": STRING}
    return _object(**head, choices=_array(choice), usage=USAGE)


CHAT = _answer("chat.completion", message=_object(role=_const("assistant"), content=STRING))
COMPLETION = _answer("text_completion", text=STRING)
EMBEDDING = _object(object=_const("embedding"), index=INTEGER, embedding={"anyOf": [_array(NUMBER), STRING]})
EMBEDDINGS = _object(object=_const("list"), data=_array(EMBEDDING), model=STRING)
MODELS = _object(object=_const("list"), data=_array(MODEL), has_more=BOOLEAN)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    requests: list[type[BaseModel]] = [ChatRequest, CompletionRequest, EmbeddingRequest]
    _, definitions = models_json_schema(
        [(model, "validation") for model in requests], ref_template="#/components/schemas/{model}"
    )
    schemas = definitions["$defs"] | {"Error": ERROR}
    name = {"name": "model", "in": "path", "required": True, "schema": STRING}
    return {
        "openapi": "3.1.0",
        "info": {"title": "miLLM, OpenAI's API", "version": "1"},
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": {"post": _post("Answer a chat", "ChatRequest", CHAT, streams=True)},
            "/v1/completions": {"post": _post("Continue texts", "CompletionRequest", COMPLETION, streams=True)},
            "/v1/embeddings": {"post": _post("Embed texts", "EmbeddingRequest", EMBEDDINGS)},
            "/v1/models": {"get": _operation("List the model, alone and with profiles that fit", MODELS)},
            "/v1/models/{model}": {"get": _operation("One of them", MODEL, parameters=[name])},
        },
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _post(summary: str, request: str, answer: dict[str, Any], *, streams: bool = False) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{request}"}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return _operation(summary, answer, streams=streams, requestBody=body)


def _operation(summary: str, answer: dict[str, Any], *, streams: bool = False, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if streams:
        content["text/event-stream"] = {"schema": STRING}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refused = {str(status): {"description": why, "content": error} for status, why in REFUSALS.items()}
    return {"summary": summary, "responses": {"200": {"description": "Done", "content": content}, **refused}, **more}


def openapi(request: HttpRequest) -> JsonResponse:
    """GET /v1/openapi.json, for everybody."""
    return JsonResponse(document())

"""The OpenAPI description of /v1, made of the models that check the requests."""

from functools import cache
from typing import Any

from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from inference.openai.embeddings import EmbeddingRequest
from inference.openai.requests import ChatRequest, CompletionRequest
from inference.responses.request import ResponseRequest

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
SERVER_SENT_EVENT = {
    "description": "One of the server-sent events.",
    "type": "object",
    "properties": {"event": STRING, "data": STRING},
}
BOOLEAN = {"type": "boolean"}
REFUSALS = {
    400: "Something in the request is wrong, and nothing was changed",
    401: "No API key, or a wrong one",
    403: "The key's user may not activate profiles",
    404: "There is no such model, profile, response or path",
    405: "The path has no such method",
    409: "The profile does not fit the model or the SAE, or the response is in another state",
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
DETAILS = _object(reasoning_tokens=INTEGER)
FINISH = {"enum": ["stop", "length", "tool_calls"]}
CHOICE = _object(index=INTEGER, finish_reason=FINISH, logprobs=_or_null({"type": "object"}))
MODEL = _object(id=STRING, object=_const("model"), created=INTEGER, owned_by=STRING)
ERROR = _object(error=_object(message=STRING, type=STRING, param=_or_null(STRING), code=_or_null(STRING)))


def _answer(kind: str, **of_choice: dict[str, Any]) -> dict[str, Any]:
    choice = {**CHOICE, "properties": CHOICE["properties"] | of_choice, "required": [*CHOICE["required"], *of_choice]}
    head = {"id": STRING, "object": _const(kind), "created": INTEGER, "model": STRING, "system_fingerprint": STRING}
    return _object(**head, choices=_array(choice), usage=USAGE)


CALL = _object(id=STRING, type=_const("function"), function=_object(name=STRING, arguments=STRING))
MESSAGE = _object(role=_const("assistant"), content=_or_null(STRING))
MESSAGE["properties"] |= {"reasoning_content": STRING, "tool_calls": _array(CALL)}
CHAT = _answer("chat.completion", message=MESSAGE)
CHAT["properties"]["usage"] = {**USAGE, "properties": USAGE["properties"] | {"completion_tokens_details": DETAILS}}
COMPLETION = _answer("text_completion", text=STRING)
EMBEDDING = _object(object=_const("embedding"), index=INTEGER, embedding={"anyOf": [_array(NUMBER), STRING]})
EMBEDDINGS = _object(object=_const("list"), data=_array(EMBEDDING), model=STRING)
MODELS = _object(object=_const("list"), data=_array(MODEL), has_more=BOOLEAN)


ITEM = {"type": "object", "properties": {"id": STRING, "type": STRING}, "required": ["id", "type"]}
STATUS = {"enum": ["in_progress", "completed", "incomplete", "failed", "cancelled"]}
COUNTS = _object(input_tokens=INTEGER, output_tokens=INTEGER, total_tokens=INTEGER)
RESPONSE = _object(
    id=STRING,
    object=_const("response"),
    created_at=INTEGER,
    status=STATUS,
    model=STRING,
    output=_array(ITEM),
    error=_or_null({"type": "object"}),
    incomplete_details=_or_null({"type": "object"}),
    previous_response_id=_or_null(STRING),
    usage=_or_null(COUNTS),
)
DELETED = _object(id=STRING, object=_const("response"), deleted={"const": True})
ITEMS = _object(
    object=_const("list"), data=_array(ITEM), has_more=BOOLEAN, first_id=_or_null(STRING), last_id=_or_null(STRING)
)


def _parameter(name: str, schema: dict[str, Any], place: str = "query") -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _of_responses() -> dict[str, Any]:
    """The paths of the Responses API."""
    one = "/v1/responses/{response_id}"
    named = [_parameter("response_id", STRING, "path")]
    page = [
        _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
        _parameter("order", {"enum": ["asc", "desc"], "default": "desc"}),
        _parameter("after", STRING),
    ]
    return {
        "/v1/responses": {"post": _post("Make a response", "ResponseRequest", RESPONSE, streams=True)},
        one: {
            "get": _operation("Get a stored response", RESPONSE, parameters=named),
            "delete": _operation("Delete a stored response", DELETED, parameters=named),
        },
        f"{one}/input_items": {
            "get": _operation("List the input items of a stored response", ITEMS, parameters=[*named, *page])
        },
        f"{one}/cancel": {"post": _operation("Cancel a response in progress", RESPONSE, parameters=named)},
    }


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    requests: list[type[BaseModel]] = [ChatRequest, CompletionRequest, EmbeddingRequest, ResponseRequest]
    _, definitions = models_json_schema(
        [(model, "validation") for model in requests], ref_template="#/components/schemas/{model}"
    )
    schemas = definitions["$defs"] | {"Error": ERROR}
    name = _parameter("model", STRING, "path")
    return {
        "openapi": "3.1.0",
        "info": {"title": "miLLM, OpenAI's API", "version": "1"},
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": {"post": _post("Answer a chat", "ChatRequest", CHAT, streams=True)},
            "/v1/completions": {"post": _post("Continue texts", "CompletionRequest", COMPLETION, streams=True)},
            "/v1/embeddings": {"post": _post("Embed texts", "EmbeddingRequest", EMBEDDINGS)},
            **_of_responses(),
            "/v1/models": {
                "get": _operation("List the model ids: the model alone, and with each profile that fits", MODELS)
            },
            "/v1/models/{model}": {"get": _operation("Get a model id", MODEL, parameters=[name])},
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
        content["text/event-stream"] = {"schema": SERVER_SENT_EVENT}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refused = {str(status): {"description": why, "content": error} for status, why in REFUSALS.items()}
    return {"summary": summary, "responses": {"200": {"description": "Done", "content": content}, **refused}, **more}


def openapi(request: HttpRequest) -> JsonResponse:
    """GET /v1/openapi.json, for everybody."""
    return JsonResponse(document())

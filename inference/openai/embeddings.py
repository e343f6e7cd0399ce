"""POST /v1/embeddings: the mean over a text's tokens of the model's last hidden state, never steered.

Source of the shapes: https://platform.openai.com/docs/api-reference/embeddings.
"""

import asyncio
import base64
import json
import struct
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import StrictInt, field_validator

from inference.broker.exchange import Exchange, first_event
from inference.broker.messages import EmbedMessage
from inference.models import LanguageModel
from inference.openai.endpoint import in_database, is_strict, json_body, openai_view
from inference.openai.errors import OpenAIError
from inference.openai.fields.prompts import Prompts, as_prompts, check_number
from inference.openai.requests import Body
from inference.openai.selection import Selection, served_model


class EmbeddingRequest(Body):
    """POST /v1/embeddings."""

    input: Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: StrictInt | None = None
    profile: None = None
    steering: None = None
    intensity: None = None

    @field_validator("profile", "steering", "intensity", mode="before")
    @classmethod
    def _unsteered(cls, value: object) -> None:
        if value is not None:
            raise ValueError("embeddings are not steered: leave it out")

    @field_validator("input", mode="before")
    @classmethod
    def _within_bound(cls, value: Any) -> Any:
        return check_number(value, settings.INFERENCE_MAX_EMBEDDINGS)


@openai_view("POST")
async def embeddings(request: HttpRequest, user: Any) -> HttpResponseBase:
    """Embed texts."""
    asked = EmbeddingRequest.parse(json_body(request), strict=is_strict(request))
    model = await in_database(_model, asked)
    selection = Selection.of(asked.model, model)
    prompts = as_prompts(asked.input)
    exchange = Exchange(f"embd-{uuid.uuid4().hex}", selection)
    await exchange.send(partial(EmbedMessage, prompts=prompts))
    events = exchange.events()
    event = await first_event(events, waits=False)
    found: dict[int, str] = {}
    while event.kind != "finished":
        found |= dict(event.data.get("embeddings", []))
        event = await anext(events)
    body = await asyncio.to_thread(_body, asked, [found[index] for index in range(len(prompts))], event.data)
    return HttpResponse(body, content_type="application/json", headers=selection.headers())


def _body(asked: EmbeddingRequest, embeddings: list[str], last: Mapping[str, Any]) -> bytes:
    """The answer as JSON. Each embedding is written by itself, so that other threads run in between."""
    data = (
        json.dumps({"object": "embedding", "index": index, "embedding": _encoded(embedding, asked.encoding_format)})
        for index, embedding in enumerate(embeddings)
    )
    tokens = last["prompt_tokens"]
    rest = json.dumps({"model": asked.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    return b'{"object": "list", "data": [' + b", ".join(one.encode() for one in data) + b"], " + rest[1:].encode()


def _model(asked: EmbeddingRequest) -> LanguageModel:
    model, profile = served_model(asked.model)
    if profile is not None:
        message = f"model: embeddings are not steered: use `{model.name}`"
        raise OpenAIError(400, message, param="model", code="invalid_request")
    if asked.dimensions not in {None, model.d_model}:
        message = f"dimensions: got {asked.dimensions}, expected {model.d_model}, which this model's embeddings have"
        raise OpenAIError(400, message, param="dimensions", code="invalid_request")
    return model


def _encoded(embedding: str, encoding: str | None) -> str | list[float]:
    """An embedding as the client wants it: base64 of little-endian float32, as it is here, or a list of numbers."""
    if encoding == "base64":
        return embedding
    raw = base64.b64decode(embedding)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))

"""Answers as server-sent events. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from django.http import StreamingHttpResponse

WAITING = b": waiting\n\n"
"""A comment, so that no proxy takes the silence for the end."""


def as_event(payload: Mapping[str, Any], name: str = "") -> bytes:
    """One event with JSON as its data, and with a name where OpenAI gives its events names."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()


def event_stream(body: AsyncIterator[bytes], headers: Mapping[str, str]) -> StreamingHttpResponse:
    """The response with these events; no proxy keeps or collects them."""
    own = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers}
    return StreamingHttpResponse(body, content_type="text/event-stream", headers=own)

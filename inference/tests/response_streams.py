"""Streams of responses as tests read them: each event checked by the types of `openai`, and by its number."""

import json
from collections.abc import Iterable
from typing import Any

import httpx
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def checked(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The events in the lines of a stream. Fails at a wrong name, type or number."""
    found: list[dict[str, Any]] = []
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            event = json.loads(line.removeprefix("data: "))
            assert event["type"] == name
            known = EVENT.validate_python(event)
            assert type(known).model_fields["type"].annotation.__args__ == (name,)
            assert event["sequence_number"] == len(found)
            found.append(event)
        else:
            assert line in {"", ": waiting"}
    return found


def kinds(events: Iterable[dict[str, Any]]) -> list[str]:
    """The names of events without what all have."""
    return [event["type"].removeprefix("response.") for event in events]


def stream(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    """The events of a streamed response of the demo."""
    with client.stream("POST", "/responses", json={"model": "demo", "stream": True} | body) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream", answer.read()
        return checked(answer.iter_lines())

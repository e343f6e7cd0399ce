"""A response as server-sent events, numbered without gaps; the last one has the whole response."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from itertools import count
from typing import Any

from inference.broker.errors import CANCELLED
from inference.broker.exchange import stream_failed
from inference.interface import Event
from inference.openai.endpoint import as_openai_error
from inference.openai.errors import OpenAIError
from inference.openai.server_sent import WAITING, as_event
from inference.responses.answer import ResponseAnswer
from inference.responses.keeping import Keeping
from inference.responses.output import ItemEvent

LAST = {"cancelled": "response.failed"}
"""{status: the last event of a stream} where no event has the name of the status."""


async def streamed(
    answer: ResponseAnswer, first: Event, events: AsyncGenerator[Event], keeping: Keeping
) -> AsyncIterator[bytes]:
    """The events of the stream. The end is stored before its event is sent: a client may go on from it at once."""
    numbers = count()
    yield _written(_opening(answer), numbers)
    try:
        yield _read(answer, first, numbers)
        async for event in events:
            yield _read(answer, event, numbers)
        await answer.add_details()
        await keeping.end()
    except Exception as error:  # the status line is sent: a broken connection would not say what went wrong
        failed = as_openai_error(error)
        stream_failed(failed.status)
        if failed.code == CANCELLED:
            answer.cancel()
        else:
            answer.fail(failed)
            yield _written([_error(failed)], numbers)
        await keeping.fail()
    yield _written([_with_response(LAST.get(answer.status, f"response.{answer.status}"), answer)], numbers)


def _opening(answer: ResponseAnswer) -> list[ItemEvent]:
    return [_with_response("response.created", answer), _with_response("response.in_progress", answer)]


def _read(answer: ResponseAnswer, event: Event, numbers: Iterator[int]) -> bytes:
    """The part of the stream that an event of the worker becomes."""
    return WAITING if event.kind == "waiting" else _written(answer.take(event), numbers)


def _written(events: Iterable[ItemEvent], numbers: Iterator[int]) -> bytes:
    numbered = ({"type": event["type"], "sequence_number": next(numbers), **event} for event in events)
    return b"".join(as_event(event, event["type"]) for event in numbered)


def _with_response(kind: str, answer: ResponseAnswer) -> ItemEvent:
    return {"type": kind, "response": answer.as_json()}


def _error(failed: OpenAIError) -> dict[str, Any]:
    return {"type": "error", "code": failed.code, "message": failed.message, "param": failed.param}

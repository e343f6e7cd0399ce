"""The output items of a response, as they grow part by part; each change is an event of the stream.

Source of the shapes: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from inference.responses.ids import item_id

Status = Literal["in_progress", "completed", "incomplete"]
ItemEvent = dict[str, Any]
"""An event without its sequence number."""


class TextItem:
    """An output item with one part of text, which grows by deltas."""

    TYPE: ClassVar[str]
    PART: ClassVar[str]
    """The type of its part, and the middle of the names of its events."""

    def __init__(self, response_id: str, place: int) -> None:
        self.place = place
        self.id = item_id(self.TYPE, response_id, place)
        self._text: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def open(self) -> Iterator[ItemEvent]:
        yield self._added(self.as_json("in_progress", []))
        yield self._of_part("response.content_part.added", part=self._part("", []))

    def add(self, text: str, logprobs: Sequence[dict[str, Any]] = ()) -> Iterator[ItemEvent]:
        """Append `text`, and the log-probabilities of tokens that the events before did not have."""
        self._text.append(text)
        self._logprobs += logprobs
        yield self._of_part(f"response.{self.PART}.delta", delta=text, **self._known(logprobs))

    def close(self, status: Status) -> Iterator[ItemEvent]:
        part = self._part("".join(self._text), self._logprobs)
        yield self._of_part(f"response.{self.PART}.done", text=part["text"], **self._known(self._logprobs))
        yield self._of_part("response.content_part.done", part=part)
        item = self.as_json(status, [part])
        yield {"type": "response.output_item.done", "output_index": self.place, "item": item}

    def as_json(self, status: Status, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The item with these parts."""
        raise NotImplementedError

    def _part(self, text: str, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"type": self.PART, "text": text}

    def _known(self, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The field of an event that has log-probabilities, for parts that have some."""
        return {}

    def _added(self, item: dict[str, Any]) -> ItemEvent:
        return {"type": "response.output_item.added", "output_index": self.place, "item": item}

    def _of_part(self, kind: str, **more: Any) -> ItemEvent:
        return {"type": kind, "item_id": self.id, "output_index": self.place, "content_index": 0, **more}


class MessageItem(TextItem):
    TYPE, PART = "message", "output_text"

    def as_json(self, status: Status, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}

    def _part(self, text: str, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {**super()._part(text, logprobs), "annotations": [], "logprobs": [*logprobs]}

    def _known(self, logprobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"logprobs": [*logprobs]}


class ReasoningItem(TextItem):
    TYPE, PART = "reasoning", "reasoning_text"

    def as_json(self, status: Status, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content}


TEXT_ITEMS: dict[str, type[TextItem]] = {"content": MessageItem, "reasoning": ReasoningItem}
"""{kind of a part of the worker's answer: the item that it is added to}"""


class Output:
    """The output items of the response `response_id`, of the parts that a worker reports."""

    def __init__(self, response_id: str) -> None:
        self.items: list[dict[str, Any]] = []
        """The closed items."""
        self._response_id = response_id
        self._open: TextItem | None = None
        self._pending: list[dict[str, Any]] = []
        """Log-probabilities of tokens whose text the worker has not reported yet."""

    def take(self, parts: Sequence[dict[str, Any]], logprobs: Sequence[dict[str, Any]] = ()) -> Iterator[ItemEvent]:
        """Add the parts of one event of the worker, with the log-probabilities of its tokens."""
        self._pending += logprobs
        for part in parts:
            if part["kind"] == "call":
                yield from self._call(part["name"], part["arguments"])
            else:
                yield from self._text(TEXT_ITEMS[part["kind"]], part["text"])

    def end(self, status: Status) -> Iterator[ItemEvent]:
        """Close the open item; an answer without any item gets an empty message."""
        if self._open is None and not self.items:
            yield from self._begin(MessageItem)
        if isinstance(self._open, MessageItem) and self._pending:  # of the end token
            yield from self._add("")
        yield from self._close(status)

    def snapshot(self) -> list[dict[str, Any]]:
        """All items, the open one as it is now."""
        closing = [*self._open.close("incomplete")] if self._open else []
        return [*self.items, *(event["item"] for event in closing[-1:])]

    def _text(self, kind: type[TextItem], text: str) -> Iterator[ItemEvent]:
        if not isinstance(self._open, kind):
            yield from self._close("completed")
            yield from self._begin(kind)
        yield from self._add(text)

    def _begin(self, kind: type[TextItem]) -> Iterator[ItemEvent]:
        self._open = kind(self._response_id, len(self.items))
        yield from self._open.open()

    def _add(self, text: str) -> Iterator[ItemEvent]:
        assert self._open is not None
        logprobs, self._pending = self._pending, []
        yield from self._open.add(text, logprobs)

    def _close(self, status: Status) -> Iterator[ItemEvent]:
        if self._open is None:
            return
        for event in self._open.close(status):
            yield event
        self.items.append(event["item"])
        self._open = None

    def _call(self, name: str, arguments: str) -> Iterator[ItemEvent]:
        """A call of a function, which a worker reports when it is whole."""
        yield from self._close("completed")
        self._pending = []  # of the tokens of the call
        place = len(self.items)
        own = {"id": item_id("function_call", self._response_id, place), "type": "function_call", "name": name}
        item = {**own, "call_id": f"call_{uuid.uuid4().hex}", "arguments": arguments, "status": "completed"}
        begun = {**item, "arguments": "", "status": "in_progress"}
        at = {"output_index": place, "item_id": item["id"]}
        yield {"type": "response.output_item.added", "output_index": place, "item": begun}
        yield {"type": "response.function_call_arguments.delta", **at, "delta": arguments}
        yield {"type": "response.function_call_arguments.done", **at, "name": name, "arguments": arguments}
        yield {"type": "response.output_item.done", "output_index": place, "item": item}
        self.items.append(item)

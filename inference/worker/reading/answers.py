"""The features that fire in the answers of a request, read when they have ended."""

from collections.abc import Sequence
from typing import Any

from inference.broker.messages import AnswerReading
from inference.engine.reading.reader import Steering, Text
from inference.engine.reading.top_features import top_features
from inference.interface import Event, GenerationRequest
from inference.worker.reading.readings import MOST_ENTRIES, Readings, read_text
from inference.worker.requests.prompts import InvalidPrompt


class AnswersToRead:
    """The tokens of a request's answers while they come; their last events are held back until they are read.

    The engine's listening thread calls `holds`; the thread of the task calls `finished` once all answers have ended.
    """

    def __init__(self, asked: AnswerReading, readings: Readings, requests: Sequence[GenerationRequest]) -> None:
        """Raises UnreadableSAE, BrokenDecoder, NotEnoughMemory or InvalidPrompt: before an answer begins."""
        self._asked, self._readings, self._requests = asked, readings, requests
        self._reader = readings.reader(asked.place)
        self._answers: list[list[int]] = [[] for _ in requests]
        self._held: list[Event] = []
        tokens = sum(len(one.prompt_ids) + one.max_new_tokens for one in requests)
        if (entries := tokens * asked.top_k) > MOST_ENTRIES:
            got = f"got up to {entries:,} features in all, expected at most {MOST_ENTRIES:,}"
            raise InvalidPrompt(f"{got}: ask for fewer features of each token, or set max_tokens", "activations")

    def holds(self, event: Event) -> bool:
        """Note an event of a choice. Returns True for the last event of an answer, which is written later."""
        if event.kind == "delta":
            self._answers[event.data["index"]] += event.data["token_ids"]
        if event.kind == "finished":
            self._held.append(event)
        return event.kind == "finished"

    def finished(self) -> list[Event]:
        """The events that were held back, each with the `activations` of its answer."""
        return [
            Event(event.request_id, event.kind, {**event.data, "activations": self._read(event)})
            for event in self._held
        ]

    def _steering(self, request: GenerationRequest) -> Steering | None:
        if request.steering is None:
            return None
        prompt_tokens = len(request.prompt_ids)
        return self._readings.steering(request.steering, self._asked.stage, request.answer_form, prompt_tokens)

    def _read(self, event: Event) -> dict[str, Any]:
        choice = event.data["index"]
        request, answer = self._requests[choice], self._answers[choice]
        prompt = list(request.prompt_ids)
        ids, start, end = [*prompt, *answer], 0, len(prompt) + len(answer)
        if self._asked.positions == "answer":
            start = len(prompt)
        elif self._asked.positions == "prompt":
            end = len(prompt)
        pieces = self._readings.texts.pieces(ids)
        counts = [
            start <= position < end and not (self._asked.skip_special and special)
            for position, (_, special) in enumerate(pieces)
        ]
        text = Text(ids[:end], counts[:end])
        [(_, found)] = top_features(
            self._reader, [text], self._asked.top_k, self._asked.features, self._steering(request)
        )
        found.tokens = found.tokens[start:]
        return {"start": start, **read_text(ids[start:end], pieces[start:end], found)}

"""One response as it grows: the events of its stream, and the response as a whole."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from inference.interface import Event, parts_of
from inference.metrics import PROMPT_TOKENS
from inference.openai.answers import Choice
from inference.openai.errors import OpenAIError
from inference.openai.generation import Generation
from inference.responses.output import ItemEvent, Output, Status
from inference.responses.request import ResponseRequest

ERROR_CODES = {400: "invalid_prompt", 429: "rate_limit_exceeded"}
"""{status: code of a response's error}: OpenAI knows few. The event `error` has the code that all of /v1 has."""


class ResponseAnswer:
    """The answer to `asked`, of the events that a worker reports."""

    def __init__(self, asked: ResponseRequest, generation: Generation) -> None:
        self.choice = Choice()
        self.status: str = "in_progress"
        self._asked, self._generation = asked, generation
        self._sampling = asked.sampling(generation.selection.sampling)
        self._output = Output(generation.request_id)
        self._created, self._ended = int(time.time()), 0
        self._cached = self._tokens = self._reasoning = 0
        self._error: OpenAIError | None = None
        self._millm: dict[str, Any] = {}

    def add(self, event: Event) -> None:
        """Add an event of the worker to a response that is not streamed."""
        deque(self.take(event), maxlen=0)

    def take(self, event: Event) -> Iterator[ItemEvent]:
        """Add an event of the worker, and yield it as events of the stream."""
        kind, data = event.kind, event.data
        if kind == "started":
            self.choice.prompt_tokens, self._cached = data["prompt_tokens"], data["cached_tokens"]
            PROMPT_TOKENS.inc(data["prompt_tokens"])
        elif kind == "delta":
            self._tokens += len(data["token_ids"])
            yield from self._output.take(parts_of(data), data.get("logprobs", ()))
        elif kind == "finished":
            self.choice.finish_reason, self._reasoning = data["reason"], data.get("reasoning_tokens", 0)
            self.choice.activations, self.choice.conditions = data.get("activations", {}), data.get("conditions", ())
            self._ended = int(time.time())
            ended: Status = "incomplete" if data["reason"] == "length" else "completed"
            self.status = ended
            yield from self._output.end(ended)

    def fail(self, error: OpenAIError) -> None:
        """End it with an error."""
        self.status, self._error = "failed", error

    def cancel(self) -> None:
        self.status = "cancelled"

    async def add_details(self) -> None:
        """Read what `millm` has of an ended response."""
        self._millm = await self._generation.details([self.choice])

    def as_json(self) -> dict[str, Any]:
        """The response as it is now."""
        completed_at = self._ended if self.status == "completed" else None
        return {
            "id": self._generation.request_id,
            "object": "response",
            "created_at": self._created,
            "completed_at": completed_at,
            "status": self.status,
            "error": _as_json(self._error) if self._error else None,
            "incomplete_details": {"reason": "max_output_tokens"} if self.status == "incomplete" else None,
            "model": self._generation.selection.model,
            "output": self._output.snapshot(),
            "usage": self._usage() if self._ended else None,
            "temperature": self._sampling.temperature,
            "top_p": self._sampling.top_p,
            **self._asked.echo(),
            "system_fingerprint": self._generation.fingerprint,
            **({"millm": self._millm} if self._millm else {}),
        }

    def _usage(self) -> dict[str, Any]:
        prompt = self.choice.prompt_tokens
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": self._cached, "cache_write_tokens": 0},
            "output_tokens": self._tokens,
            "output_tokens_details": {"reasoning_tokens": self._reasoning},
            "total_tokens": prompt + self._tokens,
        }


def _as_json(error: OpenAIError) -> dict[str, Any]:
    return {"code": ERROR_CODES.get(error.status, "server_error"), "message": error.message, "param": error.param}

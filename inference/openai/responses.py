"""The shapes of OpenAI's answers. Source: https://platform.openai.com/docs/api-reference/chat."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steering.spec import SteeringSpec


def system_fingerprint(model: str, steering: SteeringSpec | None) -> str:
    """What made an answer: equal for equal model, SAE and steering."""
    made_by = f"{model}|{steering.fingerprint if steering else 'unsteered'}"
    return "fp_" + hashlib.sha256(made_by.encode()).hexdigest()[:16]


@dataclass
class Choice:
    """One of the `n` answers to a request, as far as it has come."""

    text: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None


@dataclass
class ChatAnswer:
    """An answer as chunks or as a whole; both have the same id and are built from the same events."""

    request_id: str
    model: str
    fingerprint: str
    choices: list[Choice]
    created: int = field(default_factory=lambda: int(time.time()))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def take(self, kind: str, data: Mapping[str, Any]) -> None:
        """Count an event in; `index` says of which choice it is."""
        choice = self.choices[data["index"]]
        if kind == "started":
            self.prompt_tokens = data["prompt_tokens"]
            self.cached_tokens = max(self.cached_tokens, data["cached_tokens"])
        elif kind == "delta":
            choice.text.append(data["text"])
            choice.logprobs += data.get("logprobs", [])
            self.completion_tokens += len(data["token_ids"])
        elif kind == "finished":
            choice.finish_reason = data["reason"]

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def whole(self) -> dict[str, Any]:
        choices = [self._choice(index, choice) for index, choice in enumerate(self.choices)]
        return {**self._head("chat.completion"), "choices": choices, "usage": self.usage()}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(choice.text), "refusal": None}
        logprobs = _logprobs(choice.logprobs)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}

    def chunk(
        self, index: int, delta: Mapping[str, Any], logprobs: Any = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage()}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.request_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def _logprobs(entries: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    return {"content": entries, "refusal": None} if entries else None

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
class ChatAnswer:
    """One answer as chunks or as a whole; both have the same id and are built from the same events."""

    request_id: str
    model: str
    fingerprint: str
    created: int = field(default_factory=lambda: int(time.time()))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    text: list[str] = field(default_factory=list)

    def take(self, kind: str, data: Mapping[str, Any]) -> None:
        """Count an event in."""
        if kind == "started":
            self.prompt_tokens, self.cached_tokens = data["prompt_tokens"], data["cached_tokens"]
        elif kind == "delta":
            self.text.append(data["text"])
            self.completion_tokens += len(data["token_ids"])
        elif kind == "finished":
            self.finish_reason = data["reason"]

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(self.text), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage()}

    def chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
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

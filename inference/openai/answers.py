"""Answers of /v1 as they grow, and the answer to a completion. The answer to a chat is in `chat_answer`."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar

from inference.metrics import PROMPT_TOKENS
from steering.spec import SteeringSpec


def system_fingerprint(model: str, steering: SteeringSpec | None) -> str:
    """16 hex digits after `fp_`: equal for equal model, SAE and steering."""
    made_by = f"{model}|{steering.fingerprint if steering else 'unsteered'}"
    return "fp_" + hashlib.sha256(made_by.encode()).hexdigest()[:16]


@dataclass
class Choice:
    """One of the `n` choices so far; when streaming, its text is not kept."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    """The calls of tools, as OpenAI writes them; when streaming, only their number is kept."""
    called: int = 0
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    """The characters that each token of `logprobs` adds to the text."""
    offset: int = 0
    """The length of the text of all tokens whose log-probabilities have arrived."""
    finish_reason: str | None = None
    activations: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    conditions: Sequence[int | None] = ()
    """For each part of the steering with a condition the position of the first token at which the condition held."""


@dataclass
class Answer:
    """An answer as chunks or as a whole; both have the same id and are built from the same events."""

    request_id: str
    model: str
    fingerprint: str
    choices: list[Choice]
    choices_per_prompt: int = 1
    streamed: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    echoes: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """The echo of each prompt, which arrives once, with the first of its choices."""

    WHOLE: ClassVar[str]
    CHUNK: ClassVar[str]

    def take(self, kind: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Add an event of the choice `index`, and yield it as the chunks of a stream."""
        index = data["index"]
        choice = self.choices[index]
        if kind == "started":
            choice.prompt_tokens = data["prompt_tokens"]
            if index % self.choices_per_prompt == 0:
                self.prompt_tokens += data["prompt_tokens"]
                PROMPT_TOKENS.inc(data["prompt_tokens"])
                self.cached_tokens += data["cached_tokens"]
            prompt = index // self.choices_per_prompt
            if "echo" in data:
                self.echoes[prompt] = data
            echo = self.echoes.get(prompt, data)
            yield from self._first_chunk(index, echo.get("echo", ""), self._add(choice, echo.get("echo", ""), echo))
        elif kind == "delta":
            self.completion_tokens += len(data["token_ids"])
            yield from self._grown(index, choice, data)
        elif kind == "finished":
            choice.finish_reason = data["reason"]
            self.reasoning_tokens += data.get("reasoning_tokens", 0)
            choice.activations = data.get("activations", {})
            choice.conditions = data.get("conditions", ())
            yield self._chunk(index, None, None, data["reason"])

    def _grown(self, index: int, choice: Choice, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The chunks of a delta of the worker."""
        if data["text"] or data.get("logprobs"):
            yield self._chunk(index, data["text"], self._add(choice, data["text"], data))

    def _add(self, choice: Choice, text: str, data: Mapping[str, Any]) -> dict[str, Any] | None:
        """Append a piece to `choice`; return its log-probabilities in the form of a chunk."""
        entries, widths = data.get("logprobs", []), data.get("widths", [])
        logprobs = self._logprobs(entries, widths, choice.offset)
        choice.offset += sum(widths)
        if not self.streamed:  # a stream is never needed as a whole
            choice.text.append(text)
            choice.logprobs += entries
            choice.widths += widths
        return logprobs

    def usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }

    def whole(self) -> dict[str, Any]:
        choices = [self._choice(index, choice) for index, choice in enumerate(self.choices)]
        return {**self._head(self.WHOLE), "choices": choices, "usage": self.usage()}

    def last_chunk(self, **of_all: Any) -> dict[str, Any]:
        """A chunk after those of the choices, with something about all of them."""
        return {**self._head(self.CHUNK), "choices": [], **of_all}

    @property
    def activations(self) -> list[Mapping[str, Any]]:
        """The features that the worker read in each choice, where the request asked for them."""
        return [choice.activations for choice in self.choices]

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.request_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def _first_chunk(self, index: int, echo: str, logprobs: Any) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def _chunk(self, index: int, text: str | None, logprobs: Any, finish_reason: str | None = None) -> dict[str, Any]:
        raise NotImplementedError

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        raise NotImplementedError

    def _logprobs(self, entries: list[dict[str, Any]], widths: list[int], offset: int) -> dict[str, Any] | None:
        """The log-probabilities of a piece of a choice that begins at the text's character `offset`."""
        raise NotImplementedError


class TextAnswer(Answer):
    """The answer to a completion. Source: https://platform.openai.com/docs/api-reference/completions."""

    WHOLE = CHUNK = "text_completion"

    def _first_chunk(self, index: int, echo: str, logprobs: Any) -> Iterator[dict[str, Any]]:
        if echo:
            yield self._chunk(index, echo, logprobs)

    def _chunk(self, index: int, text: str | None, logprobs: Any, finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "text": text or "", "logprobs": logprobs, "finish_reason": finish_reason}
        return {**self._head(self.CHUNK), "choices": [choice]}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        logprobs = self._logprobs(choice.logprobs, choice.widths, 0)
        text = "".join(choice.text)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": choice.finish_reason}

    def _logprobs(self, entries: list[dict[str, Any]], widths: list[int], offset: int) -> dict[str, Any] | None:
        if not entries:
            return None
        return {
            "tokens": [_name(entry) for entry in entries],
            "token_logprobs": [entry["logprob"] for entry in entries],
            "top_logprobs": [_alternatives(entry) for entry in entries],
            "text_offset": list(accumulate(widths[:-1], initial=offset)),
        }


def _alternatives(entry: Mapping[str, Any]) -> dict[str, float] | None:
    """Texts and log-probabilities; of several tokens with one text the most probable.

    None for a prompt's first token, which the model does not predict.
    """
    if entry["top_logprobs"] is None:
        return None
    return {_name(top): top["logprob"] for top in reversed(entry["top_logprobs"])}


def _name(entry: Mapping[str, Any]) -> str:
    """The text of a token; a part of a character has none, and gets its bytes as OpenAI writes them."""
    raw = bytes(entry["bytes"])
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

"""The answer to a chat. Source of the shapes: https://platform.openai.com/docs/api-reference/chat.

`reasoning_content` is DeepSeek's field for the reasoning, which vLLM, LiteLLM and others read too.
"""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from inference.interface import parts_of
from inference.openai.answers import Answer, Choice


class ChatAnswer(Answer):
    """The answer to a chat: content, reasoning and calls of tools."""

    WHOLE, CHUNK = "chat.completion", "chat.completion.chunk"

    def usage(self) -> dict[str, Any]:
        return super().usage() | {"completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens}}

    def _first_chunk(self, index: int, echo: str, logprobs: Any) -> Iterator[dict[str, Any]]:
        yield self._of_delta(index, {"role": "assistant", "content": ""}, None)

    def _grown(self, index: int, choice: Choice, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        logprobs = self._add(choice, data["text"], data)
        deltas = [delta for part in parts_of(data) for delta in self._deltas(choice, part)]
        if logprobs and not deltas:
            deltas = [{"content": ""}]
        for delta in deltas:
            yield self._of_delta(index, delta, logprobs)
            logprobs = None

    def _deltas(self, choice: Choice, part: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The deltas of one part of the answer. A call has two: its name first, then its arguments."""
        if part["kind"] == "call":
            function = {"name": part["name"], "arguments": part["arguments"]}
            call = {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
            at = choice.called
            choice.called += 1
            if not self.streamed:
                choice.calls.append(call)
            yield {"tool_calls": [{"index": at, **call, "function": {**function, "arguments": ""}}]}
            yield {"tool_calls": [{"index": at, "function": {"arguments": part["arguments"]}}]}
        elif part["kind"] == "reasoning":
            if not self.streamed:
                choice.reasoning.append(part["text"])
            yield {"reasoning_content": part["text"]}
        else:
            yield {"content": part["text"]}

    def _chunk(self, index: int, text: str | None, logprobs: Any, finish_reason: str | None = None) -> dict[str, Any]:
        return self._of_delta(index, {} if text is None else {"content": text}, logprobs, finish_reason)

    def _of_delta(
        self, index: int, delta: dict[str, Any], logprobs: Any, finish_reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return {**self._head(self.CHUNK), "choices": [choice]}

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text, reasoning = "".join(choice.text), "".join(choice.reasoning)
        has_other = bool(reasoning or choice.calls)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if has_other and not text else text,
            "refusal": None,
            **({"reasoning_content": reasoning} if reasoning else {}),
            **({"tool_calls": choice.calls} if choice.calls else {}),
        }
        logprobs = self._logprobs(choice.logprobs, choice.widths, 0)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}

    def _logprobs(self, entries: list[dict[str, Any]], widths: list[int], offset: int) -> dict[str, Any] | None:
        return {"content": entries, "refusal": None} if entries else None

"""One answer in the engine, and the events made from it for the listener."""

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerFast

from inference.engine.detokenizer import AnswerText, GrowingText, TokenRecord, TokenTexts
from inference.engine.forms.parser import AnswerParser, Part, joined, tokens_in_use
from inference.engine.sampling.constraints import Constraint
from inference.engine.steering.seat import UNSTEERED, Seat
from inference.interface import Event, GenerationRequest


def end_tokens(config: GenerationConfig | None, tokenizer: PreTrainedTokenizerFast, vocab: int) -> list[int]:
    """The tokens that end an answer: the model's and the tokenizer's, since either may be a base model's; else [-1].

    The model has `vocab` logits.
    """
    configured = config.eos_token_id if config else None
    own = configured if isinstance(configured, list) else [configured]
    found = {one for one in (*own, tokenizer.eos_token_id) if one is not None and 0 <= one < vocab}
    return sorted(found) or [-1]


@dataclass
class Answer:
    """A request in the engine, and the part of its answer that the listener has seen.

    The listening thread alone writes `text`, `record`, `parser` and `seen`. The batch's thread writes `cached`, the
    tokens of the prompt that the KV cache held, and, through the request's `BatchEntry`, `logprobs` and `is_lost`.
    """

    request: GenerationRequest
    text: AnswerText
    record: TokenRecord
    eos: Collection[int]
    slot: int = -1
    constraint: Constraint | None = None
    seat: Seat = UNSTEERED
    parser: AnswerParser | None = None
    seen: int = 0
    generated: list[int] = field(default_factory=list)
    """The tokens so far, where the engine itself does not keep them."""
    reasoning_tokens: int = 0
    undecided: int = 0
    """The last tokens of the content that may begin another part, such as the tag of the reasoning."""
    cached: int = 0
    logprobs: list[tuple[float, list[tuple[int, float]]]] = field(default_factory=list)
    is_lost: threading.Event = field(default_factory=threading.Event)
    submitted_at: float = field(default_factory=time.monotonic)
    is_over: bool = False
    """The listener has its last event. The batch may still use its row and its slot in the step in progress."""

    @classmethod
    def begin(
        cls,
        request: GenerationRequest,
        texts: TokenTexts,
        eos: Collection[int],
        slot: int = -1,
        constraint: Constraint | None = None,
        seat: Seat = UNSTEERED,
    ) -> "Answer":
        """The answer before its first token."""
        before = () if request.opens_text else request.prompt_ids
        record = TokenRecord(texts, request.top_logprobs or 0, GrowingText(texts, before))
        named = tokens_in_use(request.parsing, texts.special) if request.parsing else ()
        text = AnswerText(texts, request.stop, before, named)
        parser = AnswerParser.after(request.parsing, texts, request.prompt_ids) if request.parsing else None
        return cls(request, text, record, eos, slot, constraint, seat, parser)

    @property
    def lost(self) -> tuple[str, str]:
        """The code and the message of a failure by a logit that is NaN or infinite, as of float16 beyond 65504."""
        under = " under this steering: try smaller strengths" if self.request.steering else ""
        return "engine_error", f"the model's logits are not finite{under}"  # no token is the largest

    def started(self) -> Event:
        tokens = {"prompt_tokens": len(self.request.prompt_ids), "cached_tokens": self.cached}
        return Event(self.request.request_id, "started", tokens)

    def take(self, generated: list[int]) -> dict[str, Any]:
        """The data of a delta event: what the answer so far, `generated`, has beyond the part already seen."""
        new_ids = generated[self.seen :]
        shown = [token_id for token_id in new_ids if token_id not in self.eos]
        delta: dict[str, Any] = self._parsed(shown) if self.parser else {"text": self.text.push(shown)}
        delta["token_ids"] = new_ids
        if self.request.top_logprobs is not None:
            delta |= self.record.entries(new_ids, self.logprobs[self.seen : self.seen + len(new_ids)])
        self.seen += len(new_ids)
        return delta

    @property
    def has_stopped(self) -> bool:
        """True where the answer ends before the batch ends it: at a stop string, or after its only call."""
        return self.text.stopped or (self.parser is not None and self.parser.is_over)

    def flush(self, delta: dict[str, Any]) -> None:
        """Add to the last `delta` what was held back."""
        held = self.text.flush()
        if self.parser is None:
            delta["text"] += held
        else:
            delta |= _of_parts([*delta["parts"], *self.parser.push(held), *self.parser.finish()])

    def _parsed(self, token_ids: Sequence[int]) -> dict[str, Any]:
        """The text and the parts of an answer that is parsed, which are final with these tokens."""
        assert self.parser
        parts: list[Part] = []
        for token_id in token_ids:
            reasoned = self.parser.is_reasoning
            new = self.parser.push(self.text.push([token_id]))
            parts += new
            if reasoned or self.parser.is_reasoning:
                self.reasoning_tokens += 1 + self.undecided
            self.undecided = 0 if new or self.parser.is_reasoning else self.undecided + 1
        return _of_parts(parts)

    def finished(self, last_id: int, conditions: Sequence[int | None] = ()) -> Event:
        """The last event of an answer that ends with the token `last_id`.

        `conditions` are the positions in prompt and answer at which the conditions of its steering first held.
        """
        reason = "stop" if self.has_stopped or last_id in self.eos else "length"
        data: dict[str, Any] = {"reason": reason, "completion_tokens": self.seen}
        if self.parser:
            data["reasoning_tokens"] = self.reasoning_tokens
            data["reason"] = "tool_calls" if self.parser.calls and reason == "stop" else reason
        return Event(self.request.request_id, "finished", data | ({"conditions": [*conditions]} if conditions else {}))


def _of_parts(parts: Sequence[Part]) -> dict[str, Any]:
    """The parts of a delta, and the text of its content alone."""
    together = joined(parts)
    text = "".join(part["text"] for part in together if part["kind"] == "content")
    return {"text": text, "parts": together}

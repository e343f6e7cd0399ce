"""One answer in the engine, and the events made from it for the listener."""

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers.generation.continuous_batching.requests import GenerationOutput, RequestStatus

from inference.engine.constraints import Constraint
from inference.engine.detokenizer import AnswerText, GrowingText, TokenRecord, TokenTexts
from inference.engine.steering.seat import UNSTEERED, Seat
from inference.interface import EngineClosed, Event, GenerationRequest


@dataclass
class Answer:
    """A request in the engine, and the part of its answer that the listener has seen.

    The listening thread alone writes `text`, `record` and `seen`. The batch's thread writes `cached`, the tokens of the
    prompt that the KV cache held, and, through the request's `BatchEntry`, `logprobs` and `is_lost`.
    """

    request: GenerationRequest
    text: AnswerText
    record: TokenRecord
    eos: Collection[int]
    slot: int
    constraint: Constraint | None = None
    seat: Seat = UNSTEERED
    seen: int = 0
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
        slot: int,
        constraint: Constraint | None,
        seat: Seat,
    ) -> "Answer":
        """The answer before its first token."""
        before = () if request.opens_text else request.prompt_ids
        record = TokenRecord(texts, request.top_logprobs or 0, GrowingText(texts, before))
        return cls(request, AnswerText(texts, request.stop, before), record, eos, slot, constraint, seat)

    def failure(self, output: GenerationOutput, is_closed: bool) -> tuple[str, str] | None:
        """The code and the message of what went wrong by `output`; None where nothing did.

        `is_closed` is true once the engine has been closed, which fails all that is left.
        """
        if output.status == RequestStatus.FAILED and is_closed:
            return EngineClosed.code, "The worker was stopped before the answer was complete: try again."
        if output.status == RequestStatus.FAILED:
            code = "out_of_memory" if "out of memory" in str(output.error) else "engine_error"
            return code, str(output.error)
        if self.is_lost.is_set():  # a logit is NaN or infinite, as of float16 beyond 65504: no token is the largest
            under = " under this steering: try smaller strengths" if self.request.steering else ""
            return "engine_error", f"the model's logits are not finite{under}"
        if self.constraint and self.constraint.error:
            return "engine_error", f"no token can follow in this schema: {self.constraint.error}"
        return None

    def started(self) -> Event:
        tokens = {"prompt_tokens": len(self.request.prompt_ids), "cached_tokens": self.cached}
        return Event(self.request.request_id, "started", tokens)

    def take(self, generated: list[int]) -> dict[str, Any]:
        """The data of a delta event: what the answer so far, `generated`, has beyond the part already seen."""
        new_ids = generated[self.seen :]
        delta: dict[str, Any] = {"text": self.text.push(token_id for token_id in new_ids if token_id not in self.eos)}
        delta["token_ids"] = new_ids
        if self.request.top_logprobs is not None:
            delta |= self.record.entries(new_ids, self.logprobs[self.seen : self.seen + len(new_ids)])
        self.seen += len(new_ids)
        return delta

    def finished(self, last_id: int, conditions: Sequence[int | None] = ()) -> Event:
        """The last event of an answer that ends with the token `last_id`.

        `conditions` are the positions in prompt and answer at which the conditions of its steering first held.
        """
        reason = "stop" if self.text.stopped or last_id in self.eos else "length"
        data: dict[str, Any] = {"reason": reason, "completion_tokens": self.seen}
        return Event(self.request.request_id, "finished", data | ({"conditions": [*conditions]} if conditions else {}))

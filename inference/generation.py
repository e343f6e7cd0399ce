"""What goes into an engine and what comes out of it: immutable, without torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from steering.spec import SteeringSpec


class GenerationError(Exception):
    """A request that an engine refuses; `code` is for programs, the message for people."""

    code = "invalid_request"


class ContextLengthExceeded(GenerationError):
    code = "context_length_exceeded"


class EngineBusy(GenerationError):
    code = "engine_busy"


class EngineClosed(GenerationError):
    code = "engine_closed"


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen. Temperature 0 is greedy; top_k 0 and top_p 1 filter nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to generate; `prompt_ids` are token ids, `max_new_tokens` bounds the answer in tokens."""

    request_id: str
    prompt_ids: Sequence[int]
    max_new_tokens: int
    sampling: SamplingParams = SamplingParams()
    steering: SteeringSpec | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """One thing that happened to a request; `kind` is started, delta, finished or failed."""

    request_id: str
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        return self.kind in {"finished", "failed"}


Listener = Callable[[list[Event]], None]
"""Called once per engine step with the events of all requests of that step."""


@dataclass(frozen=True)
class EngineStatistics:
    """A reading of an engine: requests in it, tokens made since it started."""

    running: int
    waiting: int
    generated_tokens: int
    cache_tokens: int
    max_requests: int


class Engine(Protocol):
    """All that the rest of miLLM knows of an engine."""

    context_length: int

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its events go to the listener. Raises GenerationError if it is refused."""

    def cancel(self, request_id: str) -> None:
        """Free the request's place in the batch; a request that is not here is no error."""

    def statistics(self) -> EngineStatistics: ...

    def is_alive(self) -> bool: ...

    def close(self) -> None: ...
